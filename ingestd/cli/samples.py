"""Files given on the command line, as records: for the commands that look at samples of logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import typer

from ingestd.decode import Damage, ObjectDecoder
from ingestd.model import Framing

STDIN = Path("-")
CHUNK = 1024 * 1024
HEAD_BYTES = 64 * 1024

Advance = Callable[[int], object]
"""Told the number of stored bytes that were read."""


class Record(NamedTuple):
    """One record, or the damage that stands in its place."""

    ordinal: int
    data: bytes | Damage
    header: dict[str, Any] | None


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files meant: those given, `-`, and all that lie in folders, hidden ones left out. Raises BadParameter."""
    found: list[Path] = []
    for path in paths:
        if path != STDIN and path.is_dir():
            inside = (file for file in path.rglob("*") if file.is_file())
            shown = (file for file in inside if not any(part[0] == "." for part in file.relative_to(path).parts))
            found.extend(sorted(shown))
        elif path == STDIN or path.exists():
            found.append(path)
        else:
            raise typer.BadParameter(f"{path}: no such file or folder")
    if not found:
        raise typer.BadParameter("there is no file in there")
    return list(dict.fromkeys(found))


class Opened:
    """A file being read. Its beginning can be looked at before it is decided how it is framed, stdin's too."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._first = stream.read(CHUNK)

    def head(self) -> tuple[str, list[bytes]]:
        """Framing as found, and the records in the first bytes; the last may be cut."""
        decoder = ObjectDecoder(Framing())
        blocks = [*decoder.feed(self._first), *decoder.finish()]
        return decoder.framing, [data for block in blocks for data in block.records if isinstance(data, bytes)]

    def plain_head(self) -> bytes:
        """The first plain bytes, line by line."""
        decoder = ObjectDecoder(Framing(name="lines"))
        lines: list[bytes] = []
        for block in (*decoder.feed(self._first[:HEAD_BYTES]), *decoder.finish()):
            lines += [data if isinstance(data, bytes) else data.payload for data in block.records]
        return b"\n".join(lines)[:HEAD_BYTES]

    def records(self, framing: Framing, advance: Advance = lambda _: None) -> Iterator[Record]:
        """All records, from the beginning. Once only."""
        decoder = ObjectDecoder(framing)
        chunk, self._first = self._first, b""
        while chunk:
            for block in decoder.feed(chunk):
                yield from _records(block)
            advance(len(chunk))
            chunk = self._stream.read(CHUNK)
        for block in decoder.finish():
            yield from _records(block)


def _records(block: Any) -> Iterator[Record]:
    header = block.header
    for ordinal, data in enumerate(block.records, start=block.first):
        yield Record(ordinal, data, header)


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file, or stdin for `-`."""
    if path == STDIN:
        yield Opened(sys.stdin.buffer)
        return
    with path.open("rb") as stream:
        yield Opened(stream)
