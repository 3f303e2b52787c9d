"""Alerts: windows, routing, the outbox and the destinations."""
