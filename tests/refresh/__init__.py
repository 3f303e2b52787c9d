"""Tests of what is fetched from elsewhere."""
