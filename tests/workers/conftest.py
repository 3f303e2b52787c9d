"""A pool over a folder of rules and one schema, and what came back from it."""

from __future__ import annotations

import asyncio
import gzip
import json
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from ingestd.model import ChunkResult, Match, ObjectDone, ObjectTask, Route, row_id, row_id_prefix
from ingestd.workers.answers import OnCall
from ingestd.workers.pool import Pool
from ingestd.workers.settings import MIB, CodeSpec, PoolSettings

LOG_TYPE = "Test.Event"
SCHEMA = """
schema: Test.Event
fields:
  - {name: id, type: bigint, required: true}
  - {name: time, type: timestamp, timeFormats: [rfc3339], isEventTime: true}
  - {name: text, type: string}
"""
QUICK = PoolSettings(
    workers=2,
    memory_bytes=128 * MIB,
    rule_seconds=0.2,
    rule_wall_seconds=0.5,
    chunk_seconds=0.8,
    flush_rows=500,
)
"""Limits short enough for a test, long enough for a machine with other things to do."""


def record(number: int, **fields: Any) -> bytes:
    """A JSON record with this `id`."""
    return json.dumps({"id": number, "time": "2026-03-04T05:06:07Z", "text": "hello", **fields}).encode()


def lines(count: int, start: int = 0) -> bytes:
    """`count` records with ids from `start`, one to a line."""
    return b"".join(record(start + n) + b"\n" for n in range(count))


class House:
    """Rules, one schema, a pool, and everything that the pool handed on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results: list[ChunkResult] = []
        self.suspended: list[tuple[str, str]] = []
        self.pool: Pool
        self.factory = CodeSpec().factory
        self._numbers = 0
        (root / "rules").mkdir()
        (root / "schema.yml").write_text(SCHEMA)

    def rule(self, name: str, code: str, **keys: Any) -> None:
        """A rule of `code`; a key that is None is left out."""
        (self.root / "rules" / f"{name}.py").write_text(textwrap.dedent(code))
        data = {
            "AnalysisType": "rule",
            "RuleID": name,
            "Filename": f"{name}.py",
            "Enabled": True,
            "Severity": "High",
            "LogTypes": [LOG_TYPE],
            **keys,
        }
        given = {key: value for key, value in data.items() if value is not None}
        (self.root / "rules" / f"{name}.yml").write_text(yaml.safe_dump(given))

    def every(self, name: str, divisor: int) -> None:
        """A good rule, which matches each event whose id is a multiple of `divisor`."""
        self.rule(name, f"def rule(event):\n    return event['id'] % {divisor} == 0\n")

    @property
    def spec(self) -> CodeSpec:
        """What the zygote loads."""
        return CodeSpec(
            factory=self.factory,
            schema_paths=(str(self.root / "schema.yml"),),
            builtin_schemas=False,
            candidates=((LOG_TYPE,),),
            detections={"paths": [str(self.root / "rules")]},
        )

    async def start(self, settings: PoolSettings = QUICK, on_call: OnCall | None = None) -> None:
        """Load and fork."""
        self.pool = Pool(settings, self.keep, on_call, lambda *said: self.suspended.append(said))
        await self.pool.start(self.spec)

    async def keep(self, result: ChunkResult) -> None:
        """Take a result, as the lake would."""
        self.results.append(result)

    def task(self, identity: str, **fields: Any) -> ObjectTask:
        """A task for an object of this identity."""
        self._numbers += 1
        route = Route(log_types=(LOG_TYPE,))
        return ObjectTask(**{"task": self._numbers, "identity": identity, "source": "test", "route": route, **fields})

    async def run(self, identity: str, data: bytes, *, piece: int = 1 << 16, **fields: Any) -> ObjectDone:
        """Take one object through the pool."""
        return await self.pool.run(self.task(identity, **fields), pieces(gzip.compress(data, 1), piece))

    # --- what came back -------------------------------------------------------------------------------------

    def matches(self, rule: str) -> list[str]:
        """Row ids that a rule matched, sorted."""
        return sorted(
            match.row_id for match in self._matches() if match.detection_id == rule and match.kind == "rule"
        )

    def errors(self, rule: str) -> list[Match]:
        """Errors of a rule."""
        return [match for match in self._matches() if match.detection_id == rule and match.kind == "error"]

    def _matches(self) -> list[Match]:
        return [match for result in self.results for match in result.matches]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows of a table."""
        batches = [batch for result in self.results for batch in result.tables if batch.table == table]
        return [
            row for batch in batches for row in pa.ipc.open_stream(pa.py_buffer(batch.ipc)).read_all().to_pylist()
        ]

    def assert_whole(self, sizes: dict[str, int]) -> None:
        """Each ordinal of each object came back once, and each record is a row: an event, or a reject."""
        covered: Counter[tuple[str, int]] = Counter()
        for span in (span for result in self.results for span in result.spans):
            covered.update((span.identity, ordinal) for ordinal in range(span.first, span.end))
        assert covered == Counter((identity, n) for identity, size in sizes.items() for n in range(size))
        row_ids = [row["p_row_id"] for table in ("events", "rejects") for row in self.rows(table)]
        assert sorted(row_ids) == sorted(row_ids_of(sizes))


def row_ids_of(sizes: dict[str, int], divisor: int = 1) -> list[str]:
    """Row ids of the records whose number in the object is a multiple of `divisor`."""
    return sorted(
        row_id(row_id_prefix(identity), n) for identity, size in sizes.items() for n in range(0, size, divisor)
    )


def pieces(data: bytes, size: int = 1 << 16) -> Callable[[], AsyncIterator[bytes]]:
    """What `Pool.run` opens an object with."""

    async def read() -> AsyncIterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]

    return read


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody tells us."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it happens in another process, or deep inside the pool
            await asyncio.sleep(0.002)


async def run_all(house: House, objects: dict[str, bytes]) -> Sequence[ObjectDone]:
    """All objects at once."""
    return await asyncio.gather(*(house.run(identity, data) for identity, data in objects.items()))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Not started: a test writes its rules first."""
    house = House(tmp_path)
    yield house
    if hasattr(house, "pool"):
        await house.pool.close()
