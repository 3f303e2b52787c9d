"""The product's own path, as a child and the lake run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ingestd.decode.block import Damage
from ingestd.lake.parquet import EncodedFile, Kept, encode
from ingestd.model import ChunkResult, ObjectTask, Route
from ingestd.workers import stages
from ingestd.workers.board import Board
from ingestd.workers.contracts import Stages
from ingestd.workers.frames import DATA_BYTES, RESULT, Open
from ingestd.workers.settings import ChildSettings, CodeSpec, PoolSettings
from ingestd.workers.work import Work

LOG_TYPE = "AWS.CloudTrail"
SOURCE = "bench"
ORIGIN = {
    "aws_s3_bucket": "org-trail",
    "aws_s3_key": "AWSLogs/111122223333/CloudTrail/us-east-1/2026/07/01/x.json.gz",
}

decode_result = msgspec.msgpack.Decoder(ChunkResult).decode


def code_spec(rules: Path | None) -> CodeSpec:
    """What a zygote would load."""
    return CodeSpec(candidates=((LOG_TYPE,),), detections={"paths": [str(rules)] if rules else []})


def object_task(number: int, identity: str) -> ObjectTask:
    """One object of the bench."""
    return ObjectTask(
        task=number, identity=identity, source=SOURCE, origin=ORIGIN, route=Route(log_types=(LOG_TYPE,))
    )


class NoRows:
    """Stands where the Arrow builder is, to measure what comes before it."""

    rows = 0
    bytes = 0

    def __init__(self) -> None:
        self.misfits: dict[str, int] = {}

    def add_event(self, event: dict[str, Any], size: int = 0) -> None:
        """Drop it."""

    def add_match(self, index: int, match: Any, event: dict[str, Any]) -> None:
        """Drop it."""

    def add_reject(self, **about: Any) -> None:
        """The bench has no bad records."""
        raise AssertionError(about)

    def take(self) -> tuple[()]:
        """Nothing."""
        return ()


class Child:
    """The code of a child, called in this process. `results` holds what it sent."""

    def __init__(self, rules: Path | None, *, with_rows: bool = True) -> None:
        self.stages: Stages = stages.build(code_spec(rules))
        if not with_rows:
            self.stages = msgspec.structs.replace(self.stages, builder=NoRows)
        self.results: list[bytes] = []
        self._work = Work(
            self.stages, ChildSettings.of(PoolSettings()), Board.create(), self._emit, spent=_spent, note=_ignore
        )
        self._tasks = 0

    def read(self, data: bytes, identity: str) -> list[bytes]:
        """One object, from stored bytes to results."""
        self._tasks += 1
        self._work.open(Open(task=object_task(self._tasks, identity)))
        for piece in pieces(data):
            self._work.data(self._tasks, piece)
        self._work.end(self._tasks)
        self._work.flush()
        results, self.results = self.results, []
        return results

    def _emit(self, kind: int, _task: int, payload: bytes) -> None:
        if kind == RESULT:
            self.results.append(payload)


def keep(results: list[bytes]) -> list[EncodedFile]:
    """What the parent does with them, but for the disk."""
    decoded = [decode_result(result) for result in results]
    return encode([Kept(result, [None] * len(result.matches)) for result in decoded])


def frame_only(stages: Stages, data: bytes) -> int:
    """Decompress and cut; how many records."""
    return sum(1 for _ in _records(stages, data))


def _records(stages: Stages, data: bytes) -> Iterator[bytes]:
    decoder = stages.decoder(object_task(1, "x"))
    for piece in pieces(data):
        for block in decoder.feed(piece):
            for record in block.records:
                assert not isinstance(record, Damage)
                yield record
    for block in decoder.finish():
        yield from (record for record in block.records if not isinstance(record, Damage))


def normalised(stages: Stages, data: bytes) -> Iterator[dict[str, Any]]:
    """And normalise."""
    read = stages.session(object_task(1, "x")).read
    for ordinal, record in enumerate(_records(stages, data)):
        event = read(record, ordinal)
        assert isinstance(event, dict)
        yield event


def read_only(stages: Stages, data: bytes) -> int:
    """Decompress, cut and normalise; how many events."""
    return sum(1 for _ in normalised(stages, data))


def pieces(data: bytes) -> Iterator[bytes]:
    """Stored bytes as they cross into a child."""
    for first in range(0, len(data), DATA_BYTES):
        yield data[first : first + DATA_BYTES]


def _spent(rule: str) -> None:
    raise MemoryError(rule)


def _ignore(_: str) -> None:
    pass
