"""State: one transactional store for ledger, alert windows, outbox and rules' keys."""
