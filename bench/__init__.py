"""Measurements: `python -m bench` prints one table; the generators here also feed tests and proofs."""
