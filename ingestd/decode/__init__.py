"""Decoding, in the child: compression, framing, limits."""
