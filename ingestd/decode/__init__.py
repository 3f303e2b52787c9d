"""Decoding, in the child: compression, framing, limits.

`ObjectDecoder` is the room's door: stored bytes in, blocks of framed records out.
"""

from ingestd.decode.block import Block, Damage
from ingestd.decode.decoder import ObjectDecoder
from ingestd.decode.framing import NAMES as FRAMINGS
from ingestd.decode.framing import problem_with
from ingestd.decode.limits import Limits

__all__ = ["FRAMINGS", "Block", "Damage", "Limits", "ObjectDecoder", "problem_with"]
