"""Records that were refused before, as samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from ingestd.cli.rejects import quoted
from ingestd.cli.streams import as_file

if TYPE_CHECKING:
    from ingestd.config.models import Root

MOST_RECORDS = 100_000
"""The newest."""


class Rejected(NamedTuple):
    """What of a source did not fit: whole records, as the table `rejects` keeps them. Fragments of damaged files and
    records that were cut are no samples and left out."""

    root: Root
    source: str

    @property
    def name(self) -> str:
        """The source's."""
        return self.source

    @property
    def size(self) -> int | None:
        """Not known."""
        return None

    def __str__(self) -> str:
        return f"rejects of {self.source}"

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """One record per line."""
        with as_file(self._lines()) as stream:
            yield stream

    def _lines(self) -> Iterator[bytes]:
        from ingestd.lake.query import query

        sql = (
            "select payload from rejects where not payload_truncated"  # noqa: S608 - the source is quoted
            f" and p_source_id = {quoted(self.source)} and (reason = 'unclassified' or p_log_type <> '')"
            f" order by p_parse_time desc, ordinal limit {MOST_RECORDS}"
        )
        for (payload,) in query(sql, self.root.lake.url).rows:
            yield str(payload).encode() + b"\n"
