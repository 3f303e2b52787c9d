"""The contract between a compression and what comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from isal import igzip_lib

from ingestd.decode.block import Damage

STEP: Final = 1024 * 1024
"""Largest piece of plain bytes given on at once: larger ones cost page faults and gain nothing."""

ISAL_ERROR: Final[type[Exception]] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub says an instance


class EndOfMember:
    """Type of `END_OF_MEMBER`: what follows in the stream is another file."""


END_OF_MEMBER: Final = EndOfMember()

Plain = bytes | Damage | EndOfMember
"""A piece of plain bytes; the end of one file in an archive; or, in the place of that, why it cannot be read on."""


class Codec(Protocol):
    """One compressed stream being read.

    What `feed` and `finish` return must be read to its end. They raise `Fatal` when nothing more can be read, after
    everything good was yielded. No piece is longer than `STEP`, whatever the input stands for.
    """

    def feed(self, data: bytes | memoryview) -> Iterator[Plain]:
        """Plain pieces for the next compressed bytes."""

    def finish(self) -> Iterator[Plain]:
        """The rest: nothing more comes. Raises `Fatal` when the stream had not come to its end."""
