"""The parts that need no process: who is blamed, what is skipped, what is bounded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.model import ObjectTask, Range, Route
from ingestd.workers.blame import CONDEMNED, CONDEMNED_AFTER, Case, Death, Suspects, merge
from ingestd.workers.board import Blame, Board, Phase, Place
from ingestd.workers.budget import ByteBudget
from ingestd.workers.frames import HEADER, MAX_FRAME, MORE, RESULT, Open, pack
from ingestd.workers.generation import heap
from ingestd.workers.reading import Reading


def task(**fields: object) -> ObjectTask:
    """A task with number 1."""
    return ObjectTask(**{"task": 1, "identity": "object", "source": "test", "route": Route(), **fields})  # type: ignore[arg-type]


def death(
    ordinal: int, rule: str = "", *, phase: Phase = Phase.DETECT, stuck: bool = False, **place: object
) -> Death:
    """A death at this place of task 1."""
    fields = {
        "phase": phase,
        "task": 1,
        "ordinal": ordinal,
        "rule": rule,
        "blame": Blame.NONE,
        "progress": (),
        **place,
    }
    return Death(Place(**fields), stuck=stuck, detail="")  # type: ignore[arg-type]


# --- blame ------------------------------------------------------------------------------------------------------


def test_first_death_makes_the_object_suspect_and_blames_nobody() -> None:
    """After one death at a record nothing is skipped; the object runs carefully past that record."""
    case = Case(task())
    assert case.died(death(7)) is None
    opening = case.opening()
    assert opening.careful_until > 7
    assert not opening.task.skip_calls


def test_second_death_at_the_same_record_names_the_detection() -> None:
    """The careful run noted the call: that one is skipped from now on."""
    case = Case(task())
    case.died(death(7))
    assert case.died(death(7, "Bad")) == (7, "Bad")
    assert case.opening().task.skip_calls == ((7, "Bad"),)


def test_deaths_at_different_records_blame_nobody() -> None:
    """Two kills from outside do not hit the same record: neither costs anything."""
    case = Case(task())
    assert case.died(death(7)) is None
    assert case.died(death(9, "Innocent")) is None
    assert not case.opening().task.skip_calls


@pytest.mark.parametrize("certain", [{"stuck": True}, {"blame": Blame.STUBBORN}, {"blame": Blame.MEMORY}])
def test_detection_caught_in_the_act_needs_no_second_death(certain: dict[str, object]) -> None:
    """A child that was stuck, or ended itself because of a detection, names it at once."""
    assert Case(task()).died(death(7, "Bad", **certain)) == (7, "Bad")  # type: ignore[arg-type]


def test_record_that_kills_without_detections_becomes_a_reject() -> None:
    """Two careful deaths while reading the same record: it is left out; one more: the object is given up."""
    case = Case(task())
    for _ in range(3):
        case.died(death(5, phase=Phase.READ))
    assert case.opening().task.skip_records == (5,)
    case.died(death(5, phase=Phase.READ))
    assert case.opening().condemned == CONDEMNED


def test_death_while_results_are_built_blames_no_record_at_first() -> None:
    """Columns of many records are built at once: only when each record is a result of its own is one to blame."""
    case = Case(task())
    for _ in range(2):
        case.died(death(5, phase=Phase.BUILD))
    assert case.opening().flush_seconds == 0
    assert not case.opening().task.skip_records
    for _ in range(2):
        case.died(death(3, phase=Phase.BUILD))
    assert case.opening().task.skip_records == (3,)


def test_detection_skipped_in_vain_condemns_the_record() -> None:
    """A record that still kills after its detection was skipped is left out itself."""
    case = Case(task())
    case.died(death(7))
    case.died(death(7, "Bad"))
    assert case.died(death(7, "Bad")) is None
    assert case.opening().task.skip_records == (7,)


def test_bystander_is_not_suspected_at_first() -> None:
    """An object that was open while another was worked on runs again as before; after two deaths, carefully."""
    case = Case(task())
    case.died(death(0, task=2))
    assert not case.careful
    case.died(death(0, task=2))
    assert case.careful


def test_full_child_blames_nobody() -> None:
    """A child that asked to be replaced says nothing about its objects."""
    case = Case(task())
    for _ in range(20):
        assert case.died(death(7, blame=Blame.FULL)) is None
    assert not case.careful


def test_object_without_progress_is_given_up_in_the_end() -> None:
    """Deaths that never name a culprit do not go on forever; progress gives the object another chance."""
    case = Case(task())
    for n in range(CONDEMNED_AFTER + 1):
        case.died(death(n, f"Rule {n}"))
    assert not case.opening().condemned
    case.returned(0, 1)
    for n in range(CONDEMNED_AFTER + 2):
        case.died(death(100 + n, f"Rule {n}"))
    assert case.opening().condemned == CONDEMNED


def test_next_attempt_leaves_out_what_was_returned() -> None:
    """Ranges that came back join those that were committed before."""
    case = Case(task(skip=((0, 10), (50, 60))))
    case.returned(10, 20)
    case.returned(20, 30)
    assert case.opening().task.skip == ((0, 30), (50, 60))


ranges = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])))


@given(ranges)
def test_merged_ranges_hold_the_same_ordinals(given_ranges: list[Range]) -> None:
    """Sorted, disjoint, and not one ordinal more or less."""
    merged = merge(given_ranges)
    wanted = {n for first, end in given_ranges for n in range(first, end)}
    assert [n for first, end in merged for n in range(first, end)] == sorted(wanted)


def test_suspects_are_suspended_at_their_limit_within_the_window() -> None:
    """Three kills suspend; kills longer ago than the window do not count; it is told once."""
    suspects = Suspects(kills=3, timeouts=20, window_seconds=600)
    assert not suspects.add("Bad", "kill", 0)
    assert not suspects.add("Bad", "kill", 700)
    assert not suspects.add("Bad", "kill", 800)
    assert suspects.add("Bad", "kill", 900)
    assert not suspects.add("Bad", "kill", 901)
    assert suspects.suspended == {"Bad"}
    assert not suspects.add("Slow", "timeout", 0, 19)
    assert suspects.add("Slow", "timeout", 1)


# --- reading ----------------------------------------------------------------------------------------------------


def reading(**fields: object) -> Reading:
    """A reading of a task with these skips."""
    decoder: Any = SimpleNamespace(framing="lines", tail_open=False, records=0)
    return Reading(Open(task=task(**fields)), decoder, decoder)


@given(ranges, st.lists(st.integers(0, 80)), st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_segments_cover_each_ordinal_once(skip: list[Range], marks: list[int], blocks: list[int]) -> None:
    """Whatever is skipped or marked: blocks fall into pieces in order, skipped ones apart, marked ones alone."""
    merged = merge(skip)
    subject = reading(skip=merged, skip_records=tuple(marks))
    skipped = {n for first, end in merged for n in range(first, end)}
    at = 0
    for size in blocks:
        pieces = list(subject.segments(at, at + size))
        assert [n for first, end, _ in pieces for n in range(first, end)] == list(range(at, at + size))
        for first, end, wanted in pieces:
            assert wanted == (first not in skipped)
            assert all((n in skipped) != wanted for n in range(first, end))
            if wanted and any(subject.is_marked(n) for n in range(first, end)):
                assert end == first + 1
        at += size


def test_spans_leave_gaps_where_ordinals_are_skipped() -> None:
    """What is passed over separates spans, and is counted."""
    subject = reading(skip=((3, 5),))
    subject.next = 3
    subject.pass_over(5)
    subject.next = 9
    assert [(span.first, span.end) for span in subject.take_spans()] == [(0, 3), (5, 9)]
    assert subject.take_spans() == []
    assert subject.take_counts() == {("", "skipped"): 2}


# --- what is shared ---------------------------------------------------------------------------------------------


def test_board_shows_the_other_side_where_the_child_is() -> None:
    """Both sides see the same page: the place one way, suspensions the other."""
    board = Board.create()
    board.note("Rule.Ä" + "x" * 3_000)
    board.blame(Blame.MEMORY, "Rule.Eats")
    place = board.read()
    assert (place.phase, place.rule, place.blame) == (Phase.IDLE, "Rule.Eats", Blame.MEMORY)
    assert board.take_suspended() is None
    board.suspend({"B", "A"})
    assert board.take_suspended() == ["A", "B"]
    assert board.take_suspended() is None
    board.suspend(f"{n} {'x' * 900}" for n in range(100))
    assert 40 < len(board.take_suspended() or ()) < 100
    board.close()


@given(st.integers(0, 3), st.integers(-1, 1))
def test_long_messages_are_cut_into_frames(frames: int, beyond: int) -> None:
    """No frame is longer than the limit, all but the last say that more follows, and nothing is lost."""
    size = max(0, frames * MAX_FRAME + beyond)
    sent = list(pack(RESULT, 9, bytes(size)))
    headers = [HEADER.unpack(part) for part in sent if isinstance(part, bytes) and len(part) == HEADER.size]
    assert sum(length for _, length, _ in headers) == size
    assert all(length <= MAX_FRAME for _, length, _ in headers)
    assert [bool(kind & MORE) for kind, _, _ in headers] == [True] * (len(headers) - 1) + [False]


async def test_budget_serves_in_turn_and_survives_cancellation() -> None:
    """Whoever waits first is served first; one that gives up takes nothing with it."""
    budget = ByteBudget(10)
    await budget.take(8)
    first, second, third = (asyncio.create_task(budget.take(size)) for size in (6, 2, 100))
    await asyncio.sleep(0)
    assert not second.done()  # small enough, but not its turn
    first.cancel()
    await asyncio.sleep(0)
    budget.give(8)
    await second
    assert not third.done()
    budget.give(2)
    await third  # more than there is in all: alone
    budget.give(100)
    assert budget.taken == 0


# --- memory -----------------------------------------------------------------------------------------------------


def test_a_child_uses_memory_again_without_the_kernel() -> None:
    """Buffers of the size of a result come from what the process kept, instead of from fresh pages each time."""
    code = """
import resource
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [bytearray(b"x") * (8 << 20) for _ in range(3)]
    del buffers
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=heap(256 << 20), capture_output=True, text=True, check=True
    )
    first, *others = map(int, run.stdout.split())
    assert first > 1000
    assert max(others) < 100
