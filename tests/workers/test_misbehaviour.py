"""Whatever a rule does, it is reported for it at that record, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from ingestd.model import Route, row_id, row_id_prefix
from tests.workers.conftest import House, lines, row_ids_of, run_all

SIZES = {"a": 300, "b": 430, "c": 150}
START_OF_B = 7700
"""Ids of the object `b` go on from here, a multiple of all that the rules divide by."""
BAD_RECORD = 123
BAD_ID = START_OF_B + BAD_RECORD
OBJECTS = {"a": lines(300), "b": lines(430, START_OF_B), "c": lines(150)}

CATCH_ALL = """
        while True:
            try:
                while True: pass
            except BaseException: pass
"""
RULES = {
    "raises": "raise ValueError('no')",
    "raises_base": "raise BaseException('no')",
    "system_exit": "raise SystemExit(0)",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "generator_exit": "raise GeneratorExit",
    "returns_none": "return None",
    "endless_recursion": "return rule(event)",
    "endless_loop": "while True: pass",
    "sleeps_forever": "import time; time.sleep(1e9)",
    "catastrophic_regex": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "long_c_call": "sum(range(10**11))",
    "huge_power": "10 ** 10 ** 9",
    "exits": "import os; os._exit(3)",
    "exits_zero": "import os; os._exit(0)",
    "kills_itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "kills_its_zygote": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "aborts": "import os; os.abort()",
    "eats_memory_at_once": "bytearray(1 << 40)",
    "eats_memory_in_pieces": "eaten = []\n        while True: eaten.append(bytearray(1 << 20))",
    "eats_memory_in_crumbs": "eaten = []\n        while True: eaten.append([None] * 50)",
    "keeps_what_it_eats": "while True: KEPT.append(bytearray(1 << 20))",
    "keeps_crumbs": "while True: KEPT.append([None] * 50)",
    "raises_unpicklable": "raise Unpicklable('a', b='c')",
    "raises_what_raises": "raise Hostile()",
    "forks": "import os; os.fork()",
    "closes_files": "import os; os.closerange(3, 256)",
    "catches_everything": CATCH_ALL,
    "stops_its_timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 0)\n        while True: pass",
}
PREAMBLE = """
KEPT = []

class Unpicklable(Exception):
    def __init__(self, first, *, b):
        super().__init__()

class Hostile(Exception):
    def __str__(self): raise RuntimeError
    def __repr__(self): raise SystemExit
    __name__ = None

def rule(event):
    if {when}:
        {body}
    return event["id"] % 10 == 0
"""


def _write_rules(house: House, bad: dict[str, str]) -> None:
    """Two good rules, and bad ones, which misbehave when the expression given is true."""
    house.every("Good.Sevens", 7)
    house.every("Zealous.Elevens", 11)  # one runs before the bad rules, one after
    for name, when in bad.items():
        house.rule(f"Mid.{name}", PREAMBLE.format(when=when, body=RULES[name]))


def _assert_others_are_untouched(house: House) -> None:
    house.assert_whole(SIZES)
    assert house.matches("Good.Sevens") == row_ids_of(SIZES, 7)
    assert house.matches("Zealous.Elevens") == row_ids_of(SIZES, 11)
    assert not house.errors("Good.Sevens")
    assert not house.errors("Zealous.Elevens")
    assert not house.rows("rejects")


@pytest.mark.parametrize("name", RULES)
async def test_rule_harms_only_itself(house: House, name: str) -> None:
    """One record on which a rule misbehaves: an error of that rule there, everything else as without it."""
    _write_rules(house, {name: f"event['id'] == {BAD_ID}"})
    await house.start()
    async with asyncio.timeout(60):
        await run_all(house, OBJECTS)
    _assert_others_are_untouched(house)
    assert [error.row_id for error in house.errors(f"Mid.{name}")] == [row_id(row_id_prefix("b"), BAD_RECORD)]
    assert house.matches(f"Mid.{name}") == row_ids_of(SIZES, 10)
    assert house.suspended == []


async def test_all_of_them_together(house: House) -> None:
    """All misbehaving rules at once, each on a record of its own: each gets its error, nobody else notices."""
    _write_rules(house, {name: f"event['id'] == {BAD_ID + 10 * n}" for n, name in enumerate(RULES)})
    await house.start()
    async with asyncio.timeout(120):
        await run_all(house, OBJECTS)
    _assert_others_are_untouched(house)
    for n, name in enumerate(RULES):
        errors = [error.row_id for error in house.errors(f"Mid.{name}")]
        assert errors == [row_id(row_id_prefix("b"), BAD_RECORD + 10 * n)]
        assert house.matches(f"Mid.{name}") == row_ids_of(SIZES, 10)


LARGE = {f"object {n}": 5_000 for n in range(20)}
"""100,000 events."""
GOOD = tuple(range(2, 22))


def _write_many_good_rules(house: House) -> None:
    for divisor in GOOD:
        house.every(f"{'Good' if divisor % 2 else 'Zealous'}.{divisor}", divisor)


async def _run_large(house: House) -> None:
    await house.start()
    async with asyncio.timeout(240):
        await run_all(house, {identity: lines(size) for identity, size in LARGE.items()})
    house.assert_whole(LARGE)
    for divisor in GOOD:
        name = f"{'Good' if divisor % 2 else 'Zealous'}.{divisor}"
        assert house.matches(name) == row_ids_of(LARGE, divisor)
        assert not house.errors(name)
    assert not house.rows("rejects")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["event['id'] == 2_345", "event['id'] % 100 == 77"])
@pytest.mark.parametrize("name", RULES)
async def test_rule_harms_only_itself_among_many(house: House, name: str, when: str) -> None:
    """100,000 events, 20 good rules, one that misbehaves once or fifty times per object."""
    _write_many_good_rules(house)
    house.rule(f"Mid.{name}", PREAMBLE.format(when=when, body=RULES[name]))
    await _run_large(house)
    assert house.errors(f"Mid.{name}")


@pytest.mark.slow
async def test_all_of_them_together_among_many(house: House) -> None:
    """100,000 events, 20 good rules, and all that misbehave at once."""
    _write_many_good_rules(house)
    for name, body in RULES.items():
        house.rule(f"Mid.{name}", PREAMBLE.format(when="event['id'] % 100 == 77", body=body))
    await _run_large(house)
    assert all(house.errors(f"Mid.{name}") for name in RULES)


@pytest.mark.parametrize("has_policy", [False, True])
async def test_without_any_policy_nothing_is_said_of_resources(house: House, has_policy: bool) -> None:
    """A backfill without detections leaves the compliance state alone; where there are policies for other types,
    none is asked about the resource any more."""
    if has_policy:
        policy = {"AnalysisType": "policy", "LogTypes": None, "RuleID": None, "ResourceTypes": ["U"]}
        house.rule("Other", "def policy(resource):\n    return True\n", PolicyID="Other", **policy)
    await house.start()
    await house.run("object", b'{"ResourceId": "r"}\n', route=Route(resource_types=("T",)))
    assert len(house.rows("events")) == 1
    said = [check.verdicts for result in house.results for check in result.resources]
    assert said == ([{}] if has_policy else [])


async def test_a_policy_that_ends_its_worker_is_an_error_on_that_resource(house: House) -> None:
    """Other policies say what they think of it, and of all others."""
    policy = {"AnalysisType": "policy", "LogTypes": None, "RuleID": None, "ResourceTypes": ["T"]}
    kills = (
        "import os\n\ndef policy(resource):\n    return os._exit(3) if resource['n'] == 2 else resource['n'] > 0\n"
    )
    house.rule("Kills", kills, PolicyID="Kills", **policy)
    house.rule("Fails", "def policy(resource):\n    return False\n", PolicyID="Fails", **policy)
    await house.start()
    data = b"".join(b'{"ResourceId": "r%d", "n": %d}\n' % (n, n) for n in range(5))
    await house.run("object", data, route=Route(resource_types=("T",)))
    verdicts = {check.resource_id: check.verdicts for result in house.results for check in result.resources}
    assert {name: said["Fails"] for name, said in verdicts.items()} == {f"r{n}": "fail" for n in range(5)}
    assert [verdicts[f"r{n}"]["Kills"] for n in range(5)] == ["fail", "pass", "error", "pass", "pass"]
    (error,) = house.errors("Kills")
    assert (error.dedup, error.log_type) == ("WorkerKilled", "T")
