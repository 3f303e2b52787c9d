"""What is given on the command line as samples of logs, as records: files, folders, stdin, objects in a store, and
what was rejected before."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

import typer

from ingestd.cli.options import DEFAULT_PLACES
from ingestd.decode import Damage, ObjectDecoder
from ingestd.model import Framing

if TYPE_CHECKING:
    from ingestd.config.models import Root

STDIN = "-"
CHUNK = 1024 * 1024
HEAD_BYTES = 64 * 1024

Advance = Callable[[int], object]
"""Told the number of stored bytes that were read."""


class Record(NamedTuple):
    """One record, or the damage that stands in its place."""

    ordinal: int
    data: bytes | Damage
    header: dict[str, Any] | None


class Place(Protocol):
    """Something to read once, shown to people by its text."""

    @property
    def name(self) -> str:
        """A word for it, without folders."""

    @property
    def size(self) -> int | None:
        """Stored bytes, where known."""

    def opened(self) -> Any:
        """A context manager: the stored bytes as a file."""


class File(NamedTuple):
    """A file, or stdin."""

    path: str

    @property
    def name(self) -> str:
        """See `Place`."""
        return Path(self.path).name

    @property
    def size(self) -> int | None:
        """See `Place`."""
        return None if self.path == STDIN else Path(self.path).stat().st_size

    def __str__(self) -> str:
        return self.path

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """See `Place`."""
        if self.path == STDIN:
            yield sys.stdin.buffer
            return
        with Path(self.path).open("rb") as stream:
            yield stream


def configured(file: Path | None) -> Root | None:
    """The configuration that was given or lies in the usual places; None without one. Raises `ConfigError`."""
    from ingestd.config.load import load

    place = file or next((place for place in DEFAULT_PLACES if place.is_file()), None)
    return load(place) if place is not None else None


@contextmanager
def places(given: Sequence[str], config: Path | None, source: str, most_objects: int) -> Iterator[list[Place]]:
    """What is meant: files, `-`, all that lies in folders (hidden ones left out), and of objects under a prefix at
    most so many (0: all), read as the configured source reads them. Raises BadParameter, `Permanent`, `Retryable`."""
    from ingestd.cli.remote import Reach, is_url

    reach = Reach(configured(config), source) if any(map(is_url, given)) else None
    try:
        found: list[Place] = []
        for text in given:
            if reach is not None and is_url(text):
                found.extend(reach.chosen(text, most_objects))
            else:
                found.extend(_files(text))
        if not found:
            raise typer.BadParameter("there is no file in there")
        yield list({str(place): place for place in found}.values())
    finally:
        if reach is not None:
            reach.close()


def _files(text: str) -> list[File]:
    path = Path(text)
    if text != STDIN and path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        shown = (file for file in inside if not any(part[0] == "." for part in file.relative_to(path).parts))
        return [File(str(file)) for file in sorted(shown)]
    if text == STDIN or path.exists():
        return [File(text)]
    raise typer.BadParameter(f"{text}: no such file or folder")


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
def opened(place: Place) -> Iterator[Opened]:
    """The place under reading."""
    with place.opened() as stream:
        yield Opened(stream)
