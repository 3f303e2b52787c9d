"""Code that never comes to its end while it is imported."""

from __future__ import annotations

import os
import signal

import pytest

from ingestd.detections import DetectionSet, Options
from ingestd.detections.loading import patience
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"
ENDLESS = "x = 1\nwhile True:\n    x += 1\n"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience soon."""
    monkeypatch.setattr(patience, "CPU_SECS", 0.1)
    monkeypatch.setattr(patience, "WALL_SECS", 5.0)
    monkeypatch.setattr(patience, "AGAIN_SECS", 0.05)


def examined(fork: Fork) -> DetectionSet:
    """The folder, with whatever is wrong in it."""
    return DetectionSet.examine(Options(paths=(str(fork.root),)))


def test_an_endless_import_is_a_problem_with_its_place_and_all_others_load(fork: Fork) -> None:
    """Also when it catches what every module may catch."""
    fork.rule("Good", YES)
    fork.rule("Loop", ENDLESS + YES)
    fork.rule("Catch", "while True:\n    try:\n        pass\n    except Exception:\n        pass\n" + YES)
    loaded = examined(fork)
    assert list(loaded.runnables) == ["Good"]
    said = sorted(str(problem) for problem in loaded.problems)
    assert all("did not come to its end" in problem for problem in said)
    assert [problem.partition(":")[0].rpartition("/")[2] for problem in said] == ["Catch.py", "Loop.py"]
    assert {problem.line for problem in loaded.problems} <= {1, 2, 3, 4}


def test_a_helper_that_loops_is_named_once(fork: Fork) -> None:
    """However many detections need it."""
    fork.helper("endless", ENDLESS)
    for name in ("A", "B"):
        fork.rule(name, "import endless\n" + YES)
    [problem] = examined(fork).problems
    assert str(problem.file).endswith("endless.py")
    assert "2 detections need this helper" in problem.hint


def test_a_sleeping_import_is_ended_by_the_clock(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it uses no time of the processor."""
    monkeypatch.setattr(patience, "WALL_SECS", 0.1)
    fork.rule("Sleep", "import time\ntime.sleep(1000)\n" + YES)
    [problem] = examined(fork).problems
    assert problem.line == 2


def test_nothing_is_left_behind(fork: Fork) -> None:
    """No timer, and the handlers that were there before."""
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)
    fork.rule("Loop", ENDLESS + YES)
    examined(fork)
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)) == before


def test_an_import_that_catches_everything_ends_the_process(fork: Fork) -> None:
    """It says which file it was at; whoever started the process sees that it is gone."""
    stubborn = (
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass\n"
    )
    fork.rule("Stubborn", stubborn + YES)
    child = os.fork()
    if not child:
        examined(fork)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == patience.EXIT_STUBBORN
