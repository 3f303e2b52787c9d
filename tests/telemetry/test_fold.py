"""Folding of repeated lines, on a clock of the test's own."""

from __future__ import annotations

import logging
from typing import Any

from ingestd.telemetry import catalogue, fold
from ingestd.telemetry.fold import Folder


class World:
    """A folder, its clock and what it wrote."""

    def __init__(self) -> None:
        self.now = 0.0
        self.written: list[Any] = []
        self.folder = Folder(10.0, lambda record: self.written.append(record.msg), lambda: self.now)

    def log(self, event: str, *, level: int = logging.INFO, **fields: Any) -> None:
        """A line of ours."""
        record = logging.LogRecord("ingestd", level, "x.py", 1, {"event": event, **fields}, (), None)
        if self.folder.filter(record):
            self.written.append(record.msg)

    def foreign(self, text: str, line: int) -> None:
        """A line of a library."""
        record = logging.LogRecord("sdk", logging.WARNING, "sdk.py", line, text, ("x",), None)
        if self.folder.filter(record):
            self.written.append(record.getMessage())


def test_a_window_is_summed_up_by_the_next_line() -> None:
    """The first line after the window is preceded by the count of the folded ones, which shows the last of them."""
    world = World()
    for number in range(4):
        world.log("failed", source="a", number=number)
    world.now = 11
    world.log("failed", source="a", number=4)
    assert world.written == [
        {"event": "failed", "source": "a", "number": 0},
        {"event": "failed (3 more in 10 s)", "source": "a", "number": 3, "repeated": 3},
        {"event": "failed", "source": "a", "number": 4},
    ]
    assert catalogue.value("ingestd_log_lines_folded_total") == 3


def test_a_window_is_summed_up_by_time() -> None:
    """When nothing more comes, the count is written once the window is over, and only once."""
    world = World()
    world.log("failed")
    world.log("failed")
    world.folder.flush()
    assert len(world.written) == 1
    world.now = 10
    world.folder.flush()
    world.folder.flush()
    assert [line["event"] for line in world.written] == ["failed", "failed (1 more in 10 s)"]


def test_a_repeat_need_not_be_made() -> None:
    """A line that was only counted shows in the summary as if it had been made; a new one has to be made."""
    world = World()
    assert not world.folder.counted(logging.INFO, {"event": "done", "source": "a", "number": 0})
    world.log("done", source="a", number=0, timestamp="2026-01-01T00:00:00.000000Z")
    assert world.folder.counted(logging.INFO, {"event": "done", "source": "a", "number": 1})
    assert not world.folder.counted(logging.INFO, {"event": "done", "source": "b", "number": 2})
    world.log("done", source="a", number=2, timestamp="2026-01-01T00:00:05.000000Z")
    assert world.folder.counted(logging.INFO, {"event": "done", "source": "a", "number": 3})
    world.now = 10
    assert not world.folder.counted(logging.INFO, {"event": "done", "source": "a", "number": 4})
    world.folder.flush()
    told = world.written[1]
    assert (told["event"], told["number"], told["repeated"]) == ("done (3 more in 10 s)", 3, 3)
    assert told["timestamp"] > "2026-01-01T00:00:05.000000Z"
    assert catalogue.value("ingestd_log_lines_folded_total") == 3


def test_components_levels_and_errors_are_told_apart() -> None:
    """The same words about another source, at another level or of another kind of error are another line."""
    world = World()
    world.log("failed", source="a")
    world.log("failed", source="b")
    world.log("failed", source="a", error_type="retryable")
    world.log("failed", source="a", level=logging.ERROR)
    assert len(world.written) == 4


def test_libraries_are_told_apart_by_their_line_of_code() -> None:
    """A library's texts vary with every call; the place does not."""
    world = World()
    world.foreign("request %s failed", 5)
    world.foreign("another %s failed", 5)
    world.foreign("request %s failed", 6)
    assert world.written == ["request x failed", "request x failed"]
    world.folder.flush(everything=True)
    assert world.written[2:] == ["another x failed (1 more in 10 s)"]


def test_debug_lines_are_not_folded() -> None:
    """Who asks for debug lines wants each of them."""
    world = World()
    for _ in range(3):
        world.log("detail", level=logging.DEBUG)
    assert len(world.written) == 3


def test_memory_is_bounded() -> None:
    """Ever new lines push out the oldest windows, whose counts are not lost."""
    world = World()
    world.log("failed", source="first")
    world.log("failed", source="first")
    for number in range(fold.MAX_KEYS):
        world.log("failed", source=str(number))
    assert {"event": "failed (1 more in 10 s)", "source": "first", "repeated": 1} in world.written
