"""Telemetry: the metric catalogue, occurrences, logs, health and the admin port."""
