"""Children that die or stop: whatever ends them, each record comes back once, and the right one pays."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest
from structlog.testing import capture_logs

from ingestd.errors import Retryable
from ingestd.model import Match, row_id, row_id_prefix
from tests.workers import fakes
from tests.workers.conftest import QUICK, House, lines, pieces, record, row_ids_of, run_all, until

SIZES = {f"object {n}": 400 * n for n in range(1, 6)}


async def _killing(house: House, which: str, times: int) -> None:
    """Kill a process of the pool whenever it has returned something since the last time."""
    for n in range(times):
        seen = len(house.results)
        await until(lambda: len(house.results) > seen)  # noqa: B023 - awaited before the next round
        pids = house.pool.pids()[which]
        if pids:
            os.kill(pids[n % len(pids)], signal.SIGKILL)


@pytest.mark.parametrize("which", ["children", "zygotes"])
async def test_kill_from_outside_costs_nothing_but_time(house: House, which: str) -> None:
    """A child or zygote killed by someone else: no record lost or doubled, no detection or record blamed."""
    house.every("Rule.Tens", 10)
    await house.start(msgspec.structs.replace(QUICK, flush_rows=100))
    killing = asyncio.create_task(_killing(house, which, 4))
    async with asyncio.timeout(60):
        for n in range(3):
            sizes = {f"{n} {identity}": size for identity, size in SIZES.items()}
            await run_all(house, {identity: lines(size) for identity, size in sizes.items()})
    killing.cancel()
    everything = {f"{n} {identity}": size for n in range(3) for identity, size in SIZES.items()}
    house.assert_whole(everything)
    assert house.matches("Rule.Tens") == row_ids_of(everything, 10)
    assert not house.errors("Rule.Tens")
    assert not house.rows("rejects")


async def _kill_zygote(house: House) -> None:
    (pid,) = house.pool.pids()["zygotes"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not house.pool.pids()["children"])


async def test_dead_zygote_does_not_bring_changed_code_to_life(house: House) -> None:
    """A rule is being edited when the zygote dies: that is told with the file's name, and work waits for a reload, or
    for the file to be as it was."""
    house.every("Rule.Tens", 10)
    await house.start()
    rule = house.root / "rules" / "Rule.Tens.py"
    accepted = rule.read_text()
    with capture_logs() as logs:
        rule.write_text("def rule(event):\n    return True\n")
        await _kill_zygote(house)
        await until(lambda: str(rule) in str(logs))
    running = asyncio.create_task(house.run("one", lines(20)))
    await asyncio.sleep(0)
    rule.write_text(accepted)
    await running
    assert house.matches("Rule.Tens") == row_ids_of({"one": 20}, 10)


async def test_reload_frees_what_waits_for_code_that_is_gone(house: House) -> None:
    """The zygote died after its files were changed: with the new generation, what was under way may begin again."""
    house.every("Rule.Tens", 10)
    await house.start()
    house.every("Rule.Tens", 5)
    await _kill_zygote(house)
    waiting = asyncio.create_task(house.run("one", lines(20)))
    await until(lambda: house.pool.stats().objects)
    await house.pool.reload(house.spec)
    with pytest.raises(Retryable):
        await asyncio.wait_for(waiting, 20)
    await house.run("one", lines(20))
    assert house.matches("Rule.Tens") == row_ids_of({"one": 20}, 5)


async def test_stopped_child_is_waited_for(house: House) -> None:
    """A child under SIGSTOP in the midst of a detection uses no time: it is not replaced, and no rule times out."""
    house.rule(
        "Rule.Stops",
        "import os, signal\ndef rule(event):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return True\n",
    )
    await house.start(msgspec.structs.replace(QUICK, workers=1))
    (child,) = house.pool.pids()["children"]
    running = asyncio.create_task(house.run("object", lines(1)))
    await asyncio.wait([running], timeout=3 * QUICK.chunk_seconds)
    assert not running.done()
    os.kill(child, signal.SIGCONT)
    async with asyncio.timeout(20):
        await running
    assert house.pool.pids()["children"] == [child]
    assert not house.errors("Rule.Stops")
    assert house.matches("Rule.Stops") == row_ids_of({"object": 1})


async def test_child_that_waits_for_input_is_left_alone(house: House) -> None:
    """An object whose bytes are slow to come uses no time of its child."""
    house.every("Rule.All", 1)
    await house.start(msgspec.structs.replace(QUICK, workers=1, chunk_seconds=0.2))
    (child,) = house.pool.pids()["children"]

    async def read() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.2)
            yield lines(10)

    await house.pool.run(house.task("object"), read)
    assert house.pool.pids()["children"] == [child]


def _missed_ordinals(errors: list[Match]) -> set[str]:
    """Row ids of the records that suspended rules say they missed."""
    missed: set[str] = set()
    for error in errors:
        identity = (error.error or "").rpartition(" of ")[2]
        for first, end in re.findall(r"\[(\d+), (\d+)\)", error.error or ""):
            missed.update(row_id(row_id_prefix(identity), n) for n in range(int(first), int(end)))
    return missed


async def test_detection_that_kills_again_and_again_is_suspended(house: House) -> None:
    """After three killed children a rule is left out everywhere, and the records that it missed are told."""
    house.rule("Rule.Deadly", "import os\ndef rule(event):\n    os._exit(1)\n")
    house.every("Rule.Tens", 10)
    await house.start()
    async with asyncio.timeout(60):
        await run_all(house, {identity: lines(size) for identity, size in SIZES.items()})
    house.assert_whole(SIZES)
    assert house.matches("Rule.Tens") == row_ids_of(SIZES, 10)
    assert [rule for rule, _ in house.suspended] == ["Rule.Deadly"]
    assert house.pool.stats().suspended == ("Rule.Deadly",)
    errors = house.errors("Rule.Deadly")
    killed = [error for error in errors if error.dedup == "WorkerKilled"]
    missed = [error for error in errors if error.dedup == "RuleSuspended"]
    assert 3 <= len(killed) <= 5  # some were on their way when it was suspended
    assert missed
    assert _missed_ordinals(missed) | {error.row_id for error in killed} == set(row_ids_of(SIZES))


async def test_detection_that_times_out_again_and_again_is_suspended(house: House) -> None:
    """After twenty timeouts a rule is left out, and a reload gives it another chance."""
    house.rule("Rule.Slow", "def rule(event):\n    while True: pass\n")
    house.every("Rule.Tens", 10)
    await house.start(msgspec.structs.replace(QUICK, rule_seconds=0.05, flush_seconds=0.2))
    async with asyncio.timeout(60):
        await run_all(house, {"a": lines(100), "b": lines(100)})
    house.assert_whole({"a": 100, "b": 100})
    assert house.matches("Rule.Tens") == row_ids_of({"a": 100, "b": 100}, 10)
    assert [rule for rule, _ in house.suspended] == ["Rule.Slow"]
    timed_out = sum(result.rule_timeouts.get("Rule.Slow", 0) for result in house.results)
    assert 20 <= timed_out < 60
    house.rule("Rule.Slow", "def rule(event):\n    return True\n")
    await house.pool.reload(house.spec)
    await house.run("c", lines(10))
    assert house.matches("Rule.Slow") == row_ids_of({"c": 10})


async def test_record_that_kills_with_no_detection_to_blame_is_a_reject(house: House) -> None:
    """A record that ends the child while it is read becomes a reject; its neighbours are rows."""
    house.factory = "tests.workers.fakes:fragile"
    house.every("Rule.All", 1)
    await house.start()
    data = b"\n".join((*(record(n) for n in range(50)), record(50, text=fakes.EXITS_READER), record(51)))
    async with asyncio.timeout(30):
        await house.run("object", data)
    house.assert_whole({"object": 52})
    assert [(row["ordinal"], row["reason"]) for row in house.rows("rejects")] == [(50, "worker_killed")]
    assert fakes.EXITS_READER in house.rows("rejects")[0]["payload"]
    assert len(house.matches("Rule.All")) == 51
    assert not house.errors("Rule.All")


async def test_bytes_that_kill_become_the_reject_of_their_object(house: House) -> None:
    """An object whose bytes end the child before a record comes of them is given up, after its good records."""
    house.factory = "tests.workers.fakes:fragile"
    house.every("Rule.All", 1)
    await house.start()
    deadly = pieces(lines(20_000) + fakes.EXITS_DECODER)
    neighbour = asyncio.create_task(house.run("neighbour", lines(5_000)))
    async with asyncio.timeout(60):
        done = await house.pool.run(house.task("object"), deadly)
        await neighbour
    assert done.failure == "worker_killed"
    house.assert_whole({"object": done.records, "neighbour": 5_000})
    assert [row["ordinal"] for row in house.rows("rejects")] == [done.records - 1]
    assert done.records > 1


async def test_detection_that_kills_by_chance_does_not_go_on_forever(house: House) -> None:
    """A rule that ends its child now and then, never twice at the same record, is suspended in the end."""
    house.rule(
        "Rule.Dice",
        "import os, random\ndef rule(event):\n    if random.random() < 0.2: os._exit(1)\n    return False\n",
    )
    house.every("Rule.Tens", 10)
    await house.start()
    async with asyncio.timeout(60):
        await house.run("object", lines(2_000))
    house.assert_whole({"object": 2_000})
    assert house.matches("Rule.Tens") == row_ids_of({"object": 2_000}, 10)
    assert [rule for rule, _ in house.suspended] == ["Rule.Dice"]


async def test_growing_child_is_replaced_before_others_suffer(house: House) -> None:
    """A rule that leaks a little per event: children are replaced in time, no detection fails for want of memory."""
    house.rule("Rule.Leaks", "KEPT = []\ndef rule(event):\n    KEPT.append(bytearray(40_000))\n    return False\n")
    house.every("Rule.Tens", 10)
    await house.start(msgspec.structs.replace(QUICK, flush_rows=100))
    async with asyncio.timeout(60):
        await run_all(house, {identity: lines(size) for identity, size in SIZES.items()})
    house.assert_whole(SIZES)
    assert house.matches("Rule.Tens") == row_ids_of(SIZES, 10)
    assert not house.errors("Rule.Tens")
    assert not house.errors("Rule.Leaks")


async def test_child_under_its_limit_reports_memory_as_an_error(house: House) -> None:
    """A MemoryError that leaves nothing behind is an ordinary error: the child lives on."""
    house.rule("Rule.Greedy", "def rule(event):\n    return len(bytearray(1 << 40)) > 0\n")
    await house.start(msgspec.structs.replace(QUICK, workers=1))
    children = house.pool.pids()["children"]
    await house.run("object", lines(50))
    assert [error.dedup for error in house.errors("Rule.Greedy")] == ["MemoryError"] * 50
    assert house.errors("Rule.Greedy")[0].row_id == row_id(row_id_prefix("object"), 0)
    assert house.pool.pids()["children"] == children
