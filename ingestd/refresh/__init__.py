"""Refresh: bundles and lookup tables fetched into content-addressed local files."""
