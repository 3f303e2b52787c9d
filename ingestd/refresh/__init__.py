"""Refresh: what is published elsewhere and fetched, such as the data of lookup tables."""
