"""Correlation rules: how they are written, and finding what they look for among matches. Pure."""
