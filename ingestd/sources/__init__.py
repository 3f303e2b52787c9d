"""Sources: where messages come from. One file per YAML `type`; the contract is in `base.py`."""
