"""Stores: where objects are read from. One file per URL scheme; the contract is in `base.py`."""
