"""What detections ask of the parent while they run."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ingestd.model import row_id, row_id_prefix
from ingestd.workers.frames import Call
from ingestd.workers.serial import SerialExecutor
from tests.workers.conftest import QUICK, House, lines, pieces, row_ids_of

COUNTS = """
from panther_detection_helpers.caching import get_counter, increment_counter

def rule(event):
    before = get_counter("seen")
    return increment_counter("seen") == before + 1
"""


class Store:
    """Answers `get` and `add_count`, and remembers who asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.count = 0

    async def answer(self, call: Call) -> Any:
        """As the rules' key-value store would."""
        await asyncio.sleep(0)
        self.calls.append(call)
        if call.body["operation"] == "add_count":
            self.count += call.body["amount"]
        return {"count": self.count}


async def test_calls_carry_who_asks_and_for_which_event(house: House) -> None:
    """Each request names the rule, the row and its number within the evaluation, so that a repeat can be known."""
    house.rule("Rule.Counts", COUNTS)
    store = Store()
    await house.start(msgspec.structs.replace(QUICK, workers=1), store.answer)
    await house.run("object", lines(3))
    assert house.matches("Rule.Counts") == row_ids_of({"object": 3})
    assert store.count == 3
    prefix = row_id_prefix("object")
    asked = [(call.rule, call.row_id, call.number, call.body["operation"]) for call in store.calls]
    assert asked == [
        ("Rule.Counts", row_id(prefix, n), number, operation)
        for n in range(3)
        for number, operation in enumerate(("get", "add_count"))
    ]


async def test_waiting_for_an_answer_is_not_the_rules_time(house: House) -> None:
    """A slow answer neither times the rule out nor has the child replaced."""
    house.rule("Rule.Counts", COUNTS)
    store = Store()

    async def slowly(call: Call) -> Any:
        await asyncio.sleep(2 * QUICK.rule_wall_seconds)
        return await store.answer(call)

    await house.start(msgspec.structs.replace(QUICK, workers=1, chunk_seconds=0.3), slowly)
    children = house.pool.pids()["children"]
    await house.run("object", lines(1))
    assert house.matches("Rule.Counts") == row_ids_of({"object": 1})
    assert house.pool.pids()["children"] == children


async def test_refused_call_is_the_rules_error(house: House) -> None:
    """What the parent raises is raised in the rule, as text; the next record is evaluated all the same."""
    house.rule("Rule.Counts", COUNTS)
    house.every("Rule.All", 1)

    async def refuse(call: Call) -> Any:
        raise ValueError("no such store")

    await house.start(on_call=refuse)
    await house.run("object", lines(5))
    assert len(house.errors("Rule.Counts")) == 5
    assert "no such store" in house.errors("Rule.Counts")[0].title
    assert house.matches("Rule.All") == row_ids_of({"object": 5})


async def test_calls_are_answered_in_the_serial_executor_too(house: House) -> None:
    """The same requests, without processes."""
    house.rule("Rule.Counts", COUNTS)
    store = Store()
    serial = SerialExecutor(QUICK, house.keep, store.answer)
    await serial.start(house.spec)
    await serial.run(house.task("object"), pieces(lines(3)))
    await serial.close()
    assert house.matches("Rule.Counts") == row_ids_of({"object": 3})
    assert [call.number for call in store.calls] == [0, 1] * 3


ASKS_BETWEEN = """
from ingestd.rules import SecretError, get_secret
from panther_detection_helpers.caching import get_counter, increment_counter

def rule(event):
    before = get_counter("seen")
    try:
        get_secret("panther-analysis/key")
    except SecretError:
        pass
    return increment_counter("seen") == before + 1
"""


async def test_asking_for_a_secret_does_not_change_the_numbers_of_writes(house: House) -> None:
    """It is kept at times and asked for at others: a repeated evaluation must number its writes alike. What fails on
    the way is an error that the rule can catch, and it is asked again for the next event."""
    house.rule("Rule.Counts", ASKS_BETWEEN)
    store = Store()
    answers = iter(
        [{"refused": "not_found", "message": "no", "keep_secs": 0.0}, {"value": "the-value", "keep_secs": 60.0}]
    )

    async def answer(call: Call) -> Any:
        if call.name == "kv":
            return await store.answer(call)
        store.calls.append(call)
        return next(answers)

    await house.start(msgspec.structs.replace(QUICK, workers=1), answer)
    await house.run("object", lines(4))
    assert house.matches("Rule.Counts") == row_ids_of({"object": 4})
    asked = [(call.row_id[-12:-4], call.name, call.number) for call in store.calls]
    kv = [(f"{n:08x}", "kv", number) for n in range(4) for number in range(2)]
    assert [call for call in asked if call[1] == "kv"] == kv
    assert [call for call in asked if call[1] == "secret"] == [(f"{n:08x}", "secret", 0) for n in range(2)]


async def test_serial_executor_gives_what_the_pool_gives(house: House) -> None:
    """Rows, matches, errors and rejects are the same with processes and without."""
    house.every("Rule.Tens", 10)
    house.rule("Rule.Raises", "def rule(event):\n    return 1 // (event['id'] % 3) == 0\n")
    data = lines(200) + b"nonsense\n" + lines(100, 200)
    await house.start()
    done = await house.run("object", data)
    serial_house = SerialExecutor(QUICK, house.keep)
    parallel, house.results = house.results, []
    await serial_house.start(house.spec)
    assert serial_house.idle_capacity() == 1
    serial_done = await serial_house.run(house.task("object", task=done.task), pieces(data))
    await serial_house.close()
    assert msgspec.structs.replace(serial_done, compression=done.compression) == done
    house.assert_whole({"object": 301})
    serial = house.results
    for table in ("events", "rule_matches", "rule_errors", "rejects"):
        assert _rows(house, serial, table) == _rows(house, parallel, table)


def _rows(house: House, results: list[Any], table: str) -> list[dict[str, Any]]:
    house.results = results
    changing = {"p_parse_time"} | ({"p_event_time", "event"} if table != "events" else set())
    rows = [{name: row[name] for name in row if name not in changing} for row in house.rows(table)]
    return sorted(rows, key=lambda row: str(row["p_row_id"]))


@pytest.mark.parametrize("error", [ValueError("broken"), None])
async def test_serial_executor_goes_on_after_an_object_that_failed(house: House, error: Exception | None) -> None:
    """What the reader raises comes out of `run`; the next object is read."""
    house.every("Rule.All", 1)
    serial = SerialExecutor(QUICK, house.keep)
    await serial.start(house.spec)

    async def read() -> Any:
        yield lines(1)
        if error is not None:
            raise error

    if error is not None:
        with pytest.raises(ValueError, match="broken"):
            await serial.run(house.task("bad"), read)
    assert (await serial.run(house.task("good"), pieces(lines(4)))).records == 4
    await serial.close()
