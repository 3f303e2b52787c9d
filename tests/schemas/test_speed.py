"""What normalising costs, beside `json.loads` and beside a walk over the schema, in the same run. Decoding is left
out of both sides of the comparison with the walk, and is what normalising is compared with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench import generate
from bench.naive import Normaliser
from ingestd.schemas import Registry
from ingestd.schemas.registry import BUILTIN

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("INGESTD_REAL_CLOUDTRAIL", ROOT.parent / "shared" / "data" / "cloudtrail"))
MOST_OF_JSON_LOADS = 1.5
LEAST_BELOW_A_WALK = 4.0
ROUNDS = 25


def records() -> list[bytes]:
    """Real records where they are at hand, else generated ones."""
    files = sorted(FOLDER.glob("*.json"))
    found = [record for file in files for record in orjson.loads(file.read_bytes())["Records"]]
    return [orjson.dumps(record) for record in found or generate.events(1, 1200)]


def cpu_seconds(work: Callable[[Any], object], given: list[Any]) -> float:
    """For all of them, one after the other."""
    started = time.process_time()
    for item in given:
        work(item)
    return time.process_time() - started


def measured() -> dict[str, float]:
    """Of the fastest of several rounds, taken by turns: what others do on the machine is no part of it."""
    data = records()
    normalise = Registry.load([]).get("AWS.CloudTrail").normalise
    walk = Normaliser(BUILTIN / "AWS.CloudTrail.yml", "file:a#1", "a", {})
    rounds = [
        (
            cpu_seconds(json.loads, data),
            cpu_seconds(lambda event: walk.event(event, 0), [orjson.loads(record) for record in data]),
            cpu_seconds(lambda event: normalise(event, True), [orjson.loads(record) for record in data]),
        )
        for _ in range(ROUNDS)
    ]
    return dict(zip(("loads", "walk", "ours"), map(min, zip(*rounds, strict=True)), strict=True))


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """Measured in a process of its own, whose memory no other test has used."""
    ended = subprocess.run([sys.executable, "-m", __name__], cwd=ROOT, check=True, capture_output=True)
    return dict(json.loads(ended.stdout))


@pytest.mark.slow
def test_normalising_costs_about_as_much_as_decoding(seconds: dict[str, float]) -> None:
    """At most one and a half times `json.loads` of the same records."""
    assert seconds["ours"] <= MOST_OF_JSON_LOADS * seconds["loads"], seconds


@pytest.mark.slow
def test_normalising_costs_a_fraction_of_a_walk(seconds: dict[str, float]) -> None:
    """At least four times less than looking at the schema for each event."""
    assert LEAST_BELOW_A_WALK * seconds["ours"] <= seconds["walk"], seconds


if __name__ == "__main__":
    print(json.dumps(measured()))
