"""Workers: the process boundary is the gap between `pool.py` (parent) and `child.py` (child)."""
