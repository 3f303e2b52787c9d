"""Notices: queue bodies to ObjectRefs. One file per envelope family; the contract is in `base.py`."""
