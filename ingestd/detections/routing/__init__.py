"""Which rules could say yes to an event: read from their sources, so that all others need not run."""
