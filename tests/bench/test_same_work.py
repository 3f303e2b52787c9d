"""Both sides of the bench do the same work: otherwise their ratio would mean nothing."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import naive, real
from bench.generate import gzip_object, plain_object
from bench.rules import write_rules
from ingestd.lake.arrow import arrow_schema
from ingestd.schemas.registry import Registry

COUNT = 800
IDENTITY = "s3://bench/one#etag"
JSON_COLUMNS = {"requestParameters", "responseElements", "additionalEventData", "p_source_file"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of the rules and their ids."""
    folder = tmp_path_factory.mktemp("rules")
    return folder, write_rules(folder)


@pytest.fixture(scope="module")
def results(rules: tuple[Path, list[str]]) -> list[bytes]:
    """What a child returns for the object."""
    return real.Child(rules[0]).read(gzip_object(1, COUNT), IDENTITY)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """The naive side's events."""
    schema = Path(str(resources.files("ingestd.schemas") / "builtin" / f"{real.LOG_TYPE}.yml"))
    return naive.read(gzip_object(1, COUNT), naive.Normaliser(schema, IDENTITY, real.SOURCE, real.ORIGIN))


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Rows of a Parquet file, with JSON decoded, and without the clock."""
    rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    for row in rows:
        del row["p_parse_time"]
        for name in JSON_COLUMNS:
            row[name] = row[name] and json.loads(row[name])
    return rows


def test_both_sides_write_the_same_rows(results: list[bytes], events: list[dict[str, Any]]) -> None:
    """Every column of every row, by way of Parquet."""
    schema = arrow_schema(Registry.load([]).columns(real.LOG_TYPE))
    ours = [row for file in real.keep(results) if file.table == "events" for row in rows_of(file.data)]
    assert len(ours) == COUNT
    assert ours == rows_of(naive.to_parquet(events, schema))


def test_both_sides_find_the_same_matches(
    results: list[bytes], events: list[dict[str, Any]], rules: tuple[Path, list[str]]
) -> None:
    """Rule, row, title, dedup string and context; on about 2 % of the events."""
    folder, names = rules
    loaded = naive.Rules(folder, names)
    theirs = [match for event in events for match in loaded.matches(event)]
    ours = [
        {
            "detection_id": match.detection_id,
            "row_id": match.row_id,
            "title": match.title,
            "dedup": match.dedup,
            "context": match.context,
        }
        for result in results
        for match in real.decode_result(result).matches
    ]

    def comparable(matches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        decoded = [match | {"context": json.loads(match["context"])} for match in matches]
        return sorted(decoded, key=lambda match: (match["row_id"], match["detection_id"]))

    assert comparable(ours) == comparable(theirs)
    matching = {match["row_id"] for match in theirs}
    assert 0.01 < len(matching) / COUNT < 0.03


def test_the_traffic_is_the_same_every_time() -> None:
    """A seed is a promise: figures of two runs can be compared."""
    assert plain_object(3, 50) == plain_object(3, 50)
    assert plain_object(3, 50) != plain_object(4, 50)
