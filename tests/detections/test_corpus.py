"""A whole public corpus, from the folder that INGESTD_CORPUS names: nothing in it is changed, nothing is online."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CORPUS = os.environ.get("INGESTD_CORPUS", "")
pytestmark = pytest.mark.skipif(not CORPUS, reason="INGESTD_CORPUS names no checkout of a public corpus")

VERDICTS = """
import json, sys
from ingestd.detections.testing import suite
jobs, seed = int(sys.argv[2]), int(sys.argv[3]) or None
report = suite.run_all(suite.load_for_tests((sys.argv[1],)), suite.Settings(jobs=jobs, shuffle_seed=seed))
print(json.dumps([[one.id, one.index, one.name, one.actual, one.passed] for one in report.results]))
"""


def ingestd(*arguments: str) -> tuple[int, str]:
    """Exit code and stdout of a command, without any option from the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("INGESTD_", "PANTHER_"))}
    done = subprocess.run([sys.executable, "-m", "ingestd", *arguments], env=clean, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout


@cache
def report() -> tuple[int, dict[str, Any]]:
    """What `ingestd test` says of it."""
    code, out = ingestd("test", CORPUS, "--json")
    return code, json.loads(out)


def test_every_expectation_is_met() -> None:
    """Of rules, policies, scheduled rules and correlation rules; no file has a problem."""
    code, document = report()
    summary = document["summary"]
    assert summary["failed"] == {}
    assert summary["invalid"] == []
    assert code == 0
    kinds = summary["kinds"]
    assert kinds["rule"] >= 3000
    assert kinds["policy"] >= 300
    assert kinds["scheduled_rule"] >= 100
    assert kinds["correlation_rule"] >= 90


def test_every_test_has_its_place() -> None:
    """Each names a line of its own, on which a test begins."""
    places = {(test["file"], test["line"]) for test in report()[1]["tests"]}
    assert len(places) == len(report()[1]["tests"])
    for file, line in sorted(places)[::50]:
        assert Path(file).read_text().splitlines()[line - 1].strip().startswith(("-", "Name", "{", "ExpectedResult"))


def verdicts(jobs: int, seed: int, hash_seed: int) -> str:
    """Digest of all verdicts of a run in its own process."""
    done = subprocess.run(
        [sys.executable, "-c", VERDICTS, CORPUS, str(jobs), str(seed)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return hashlib.sha256(done.stdout).hexdigest()


def test_order_processes_and_hashes_change_no_verdict() -> None:
    """One process in order, eight of them in another order, and sets that are iterated otherwise."""
    assert len({verdicts(1, 0, 0), verdicts(8, 7, 1), verdicts(8, 11, 2)}) == 1


def test_its_folder_is_valid_and_its_packs_complete() -> None:
    """As their own tools see them."""
    assert ingestd("validate", CORPUS)[0] == 0
    assert ingestd("packs", "check", "--path", CORPUS)[0] == 0


@pytest.mark.slow
def test_routing_leaves_nothing_out() -> None:
    """On all samples and 10,000 events made from them for each log type."""
    code, out = ingestd("test", CORPUS, "--json", "--verify-routing", "--mutations", "10000")
    routing = json.loads(out)["summary"]["routing"]
    assert routing["differences"] == []
    assert routing["broken_off"] == []
    assert routing["events"] >= 10_000 * routing["log_types"] > 900_000
    assert code == 0
