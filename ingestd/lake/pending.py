"""A batch as it fills: whole chunks of many objects, and who waits for it."""

from __future__ import annotations

import asyncio
import time

from ingestd.lake.layout import file_name, new_batch_id, staging_folder
from ingestd.lake.parquet import EncodedFile, Kept, without
from ingestd.model import BatchPlan, FinishedObject, ObjectDone, ObjectRange, PlannedFile, row_id_prefix

TOLD_AT_ONCE = 100


class PendingBatch:
    """Chunks since the last commit. Used from the event loop; what blocks is done elsewhere with `chunks`."""

    def __init__(self) -> None:
        self.chunks: list[Kept] = []
        self.rows = 0
        self.bytes = 0
        self.opened = 0.0
        """Monotonic time of the first entry."""
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolved when nothing of the batch is left to do: published, aborted or dropped."""
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        self._framings: dict[str, str | None] = {}
        self._open_tails: set[str] = set()
        self._finished: dict[str, FinishedObject] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._ranges or self._finished)

    def __contains__(self, identity: str) -> bool:
        return identity in self._ranges or identity in self._finished

    @property
    def finished(self) -> set[str]:
        """Objects of which no more chunks will come."""
        return set(self._finished)

    def add(self, kept: Kept) -> None:
        """Take in a chunk."""
        self._open()
        self.chunks.append(kept)
        self.rows += _rows(kept)
        self.bytes += _bytes(kept)
        for span in kept.result.spans:
            ranges = self._ranges.setdefault(span.identity, [])
            if ranges and ranges[-1][1] == span.first:
                ranges[-1] = (ranges[-1][0], span.end)
            elif span.first < span.end:
                ranges.append((span.first, span.end))
            self._framings[span.identity] = span.framing
            if span.tail_open:
                self._open_tails.add(span.identity)

    def finish(self, identity: str, done: ObjectDone, waiting: asyncio.Future[None]) -> None:
        """Note that no more chunks of an object will come."""
        self._open()
        self._finished[identity] = FinishedObject(
            identity=identity,
            records=done.records,
            framing=done.framing,
            compression=done.compression,
            stored_bytes=done.stored_bytes,
            tail_open=done.tail_open,
        )
        self._waiting[identity] = waiting

    def plan(self, files: list[EncodedFile]) -> BatchPlan:
        """What the ledger is to know. Every call makes a new batch id: a plan that was refused is another batch."""
        batch_id = new_batch_id()
        names = [file_name(batch_id, number) for number in range(len(files))]
        return BatchPlan(
            batch_id=batch_id,
            ranges=tuple(
                ObjectRange(
                    identity=identity,
                    first=first,
                    end=end,
                    framing=self._framings[identity],
                    tail_open=identity in self._open_tails,
                )
                for identity, ranges in self._ranges.items()
                for first, end in ranges
            ),
            finished=tuple(self._finished.values()),
            files=tuple(
                PlannedFile(
                    staging=f"{staging_folder(batch_id)}/{name}",
                    final=f"{file.folder}/{name}",
                    table=file.table,
                    rows=file.rows,
                )
                for name, file in zip(names, files, strict=True)
            ),
        )

    def drop(self, lost: dict[str, Exception]) -> None:
        """Take out some objects; whoever waits for one gets its error."""
        prefixes = [row_id_prefix(identity) for identity in lost]
        for identity, error in lost.items():
            self._ranges.pop(identity, None)
            self._finished.pop(identity, None)
            waiting = self._waiting.pop(identity, None)
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
        kept = [
            without(chunk, prefixes) if any(span.identity in lost for span in chunk.result.spans) else chunk
            for chunk in self.chunks
        ]
        self.chunks = [chunk for chunk in kept if chunk.result.tables]
        self.rows = sum(_rows(chunk) for chunk in self.chunks)
        self.bytes = sum(_bytes(chunk) for chunk in self.chunks)

    def drop_all(self, error: Exception) -> set[str]:
        """Give up the batch; its objects."""
        identities = set(self._ranges) | set(self._finished)
        self.chunks.clear()
        self.drop(dict.fromkeys(identities, error))
        return identities

    async def resolve(self) -> None:
        """The batch is committed: tell who waits, some at a time, as each of thousands goes on at once."""
        for told, waiting in enumerate(list(self._waiting.values()), 1):
            if not waiting.done():
                waiting.set_result(None)
            if told % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    def settle(self) -> None:
        """Nothing of the batch is left to do."""
        if not self.settled.done():
            self.settled.set_result(None)

    def _open(self) -> None:
        self.opened = self.opened or time.monotonic()


def _rows(kept: Kept) -> int:
    return sum(table.rows for table in kept.result.tables)


def _bytes(kept: Kept) -> int:
    return sum(len(table.ipc) for table in kept.result.tables)
