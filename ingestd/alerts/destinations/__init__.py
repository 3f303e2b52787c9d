"""Destinations: where alerts go. One file per YAML `type`; the contract is in `base.py`."""
