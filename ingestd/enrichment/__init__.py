"""Enrichment, in the child: look-ups over memory-mapped tables."""
