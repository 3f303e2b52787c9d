"""What holds a child to its bounds: time per detection, memory, no second life after its parent's death.

Nothing here is armed per detection: one periodic timer looks at which evaluation is running, and one that is still
the same after its time gets a `RuleTimeout` raised inside it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

from ingestd.errors import RuleTimeout
from ingestd.workers.board import PHASE, SERIAL, Blame, Board, Phase

TICK_SECONDS: Final = 0.05
PATIENCE: Final = 20
"""Timeouts that one evaluation may swallow, a tick apart, before the child ends itself."""
RESERVE_BYTES: Final = 64 << 20
"""Address space kept back so that a child that ran out can still return its results and say so."""
FULL_SHARE: Final = 0.75
"""Share of its memory at which a child asks to be replaced, before a bystander runs out."""
NICE: Final = 5
"""What a child adds to its nice value: beside a process without, it has a third of a core that both want."""
EXIT_BLAMED: Final = 70
"""Exit status of a child that ended itself; the board says why."""

_PR_SET_PDEATHSIG: Final = 1


class Watch(Protocol):
    """What the engine shows of the evaluation under way."""

    running: str | None
    """Id of the detection, None between evaluations."""
    serial: int
    """Counts evaluations."""


def give_up(board: Board, reason: Blame, rule: str = "") -> None:
    """End this process at once, saying why. Does not return."""
    board.blame(reason, rule)
    os._exit(EXIT_BLAMED)


class RuleClock:
    """The periodic timer of one child. Create it in the main thread of the child, after the fork."""

    def __init__(self, watch: Watch, board: Board, cpu_seconds: float, wall_seconds: float) -> None:
        self._watch = watch
        self._board = board
        self._cpu_limit = cpu_seconds
        self._tick = min(TICK_SECONDS, cpu_seconds / 4)
        self._wall_limit = wall_seconds
        self._serial = -1
        self._cpu = 0.0
        self._ticks = 0
        self._raised = 0
        self.waiting = False
        """True while the detection waits for ingestd; that time is not its own."""
        self.samples = [0] * len(Phase)
        """Ticks seen in each phase since the owner last took them: where the time goes."""
        signal.signal(signal.SIGALRM, self._on_tick)

    def start(self) -> None:
        """Tick from now on."""
        signal.setitimer(signal.ITIMER_REAL, self._tick, self._tick)

    def stop(self) -> None:
        """Let an idle process sleep."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _on_tick(self, _signum: int, _frame: FrameType | None) -> None:
        watch, words = self._watch, self._board.words
        words[SERIAL] = watch.serial
        self.samples[words[PHASE]] += 1
        if watch.running is None or self.waiting:
            self._serial = -1
            return
        cpu = time.process_time()
        if watch.serial != self._serial:
            self._serial, self._cpu, self._ticks, self._raised = watch.serial, cpu, 0, 0
            return
        # Time asleep is counted in ticks, of which none is delivered while the process is stopped.
        self._ticks += 1
        if cpu - self._cpu >= self._cpu_limit:
            self._time_out(f"took more than {self._cpu_limit:g} s of CPU time")
        if self._ticks * self._tick >= self._wall_limit:
            self._time_out(f"took more than {self._wall_limit:g} s")

    def _time_out(self, message: str) -> None:
        self._raised += 1
        if self._raised > PATIENCE:
            give_up(self._board, Blame.STUBBORN, self._watch.running or "")
        raise RuleTimeout(message)


class MemoryLimit:
    """Address space of this process: its size now, and how far it may grow."""

    def __init__(self, growth_bytes: int) -> None:
        self._growth = growth_bytes
        self._base = address_space()
        self._hard = self._base + growth_bytes + RESERVE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (self._base + growth_bytes, self._hard))

    def open_reserve(self) -> None:
        """Allow what was kept back: the process is about to end."""
        resource.setrlimit(resource.RLIMIT_AS, (self._hard, self._hard))

    def is_full(self, share: float = FULL_SHARE) -> bool:
        """Whether more than `share` of the growth is used up."""
        return address_space() - self._base > share * self._growth


def address_space() -> int:
    """Size of this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_bytes().split(None, 1)[0]) * resource.getpagesize()


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even inside one long call into C."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(0)


def leave_the_terminal() -> None:
    """Leave Ctrl-C, a hang-up and a service manager's SIGTERM to the parent: it decides when a child ends.

    A process group of its own, and not a session: a kernel that shares cores among sessions first (autogroup) heeds
    the nice value only within one, and the parent would not go first.
    """
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def prefer_for_oom() -> None:
    """When the machine runs out of memory, let the kernel take a child, which can be replaced, and not the parent."""
    with suppress(OSError):  # not writable in some containers; it is only a preference
        Path("/proc/self/oom_score_adj").write_text("500")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def let_the_parent_go_first() -> None:
    """Have the kernel prefer the parent where both want a core: it keeps the leases of all messages and needs
    little. A child still has all that the parent leaves."""
    with suppress(OSError):  # forbidden in some sandboxes; it is only a preference
        os.nice(NICE)


def forbid_processes() -> None:
    """Make `os.fork` and signals to the zygote fail, and end at once any copy of this process that comes about
    otherwise: it would share our sockets. Guards against mistakes; it is no sandbox."""
    zygote = os.getppid()

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"os.fork", "os.forkpty"}:
            raise PermissionError("a detection may not fork the worker that it runs in")
        if event == "os.kill" and (arguments[0] <= 0 or arguments[0] == zygote):
            raise PermissionError("a detection may not end the processes that it runs in")

    sys.addaudithook(refuse)
    os.register_at_fork(after_in_child=lambda: os._exit(0))
