"""Work in forked children, whatever the work does to the child: one that dies, or is silent for too long, is
replaced, and what it was at is named."""

from __future__ import annotations

import gc
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, context
from pathlib import Path

SILENCE_SECS = 120.0
"""A child that gives nothing for so long is ended: it is caught where no signal of ours reaches."""
GROWTH_BYTES = 2 << 30
"""Of address space, beyond what a child has from its parent: what wants more gets a MemoryError."""
_FORK = context.ForkContext()


class _Child:
    """A forked process, and what it was given and has not answered yet."""

    def __init__(self, work: Callable[[str], bytes]) -> None:
        self.pipe, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()  # the child has the only other end: its death is the end of the pipe
        self.pending: deque[str] = deque()
        self.heard_at = time.monotonic()

    def give(self, names: Sequence[str]) -> None:
        self.pending.extend(names)
        self.heard_at = time.monotonic()
        try:
            self.pipe.send(list(names))
        except OSError:
            return  # it is dead, which its end of the pipe tells

    def end(self, grace_secs: float = 0.0) -> int | None:
        """Exit code, or minus the signal that ended it."""
        self.process.join(grace_secs)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def run(
    names: Sequence[str],
    work: Callable[[str], bytes],
    lost: Callable[[str, str], bytes],
    *,
    jobs: int,
    share: int = 20,
    silence_secs: float = SILENCE_SECS,
) -> Iterator[bytes]:
    """`work(name)` for each name, in `jobs` children of this process, in no particular order; for a name whose work
    took its child along, `lost(name, how)` in this process. `share` names are sent at once."""
    waiting = deque(names)
    children: list[_Child] = []
    gc.freeze()  # collecting would touch, and so copy, what the children share
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                children.append(_hire(work, waiting, share))
            ready = connection.wait([child.pipe for child in children], timeout=silence_secs / 4)
            for child in list(children):
                if child.pipe in ready:
                    yield from _answers(child, children, waiting, lost, share)
                elif time.monotonic() - child.heard_at > silence_secs:
                    how = f"gave no answer for {silence_secs:g} s"
                    yield from _bury(child, children, waiting, lost, how, died=False)
    finally:
        gc.unfreeze()
        for child in children:
            child.end()


def _hire(work: Callable[[str], bytes], waiting: deque[str], share: int) -> _Child:
    child = _Child(work)
    child.give(_take(waiting, share))
    return child


def _take(waiting: deque[str], share: int) -> list[str]:
    return [waiting.popleft() for _ in range(min(share, len(waiting)))]


def _answers(
    child: _Child, children: list[_Child], waiting: deque[str], lost: Callable[[str, str], bytes], share: int
) -> Iterator[bytes]:
    try:
        answer = child.pipe.recv_bytes()
    except (EOFError, OSError):
        yield from _bury(child, children, waiting, lost, "ended the process that ran it", died=True)
        return
    child.pending.popleft()
    child.heard_at = time.monotonic()
    yield answer
    if not child.pending:
        if waiting:
            child.give(_take(waiting, share))
        else:
            children.remove(child)
            child.end()


def _bury(
    child: _Child,
    children: list[_Child],
    waiting: deque[str],
    lost: Callable[[str, str], bytes],
    how: str,
    *,
    died: bool,
) -> Iterator[bytes]:
    """Blame what the child was at; the rest of its share waits for another."""
    children.remove(child)
    code = child.end(grace_secs=1.0 if died else 0.0)
    if died and code is not None:
        how += f" (signal {-code})" if code < 0 else f" (exit code {code})"
    blamed = child.pending.popleft()
    waiting.extendleft(reversed(child.pending))
    yield lost(blamed, how)


def _serve(pipe: connection.Connection, work: Callable[[str], bytes]) -> None:
    """In a child: answer until there is nobody to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    os.dup2(2, 1)  # what is written past `sys.stdout` must not get among the parent's results
    _limit_memory()
    myself, ended = os.getpid(), os._exit
    try:
        while True:
            for name in pipe.recv():
                answer = work(name)
                if os.getpid() != myself:
                    ended(0)  # the work has forked, and this is not who was asked
                pipe.send_bytes(answer)
    except (EOFError, OSError):
        ended(0)


def _limit_memory() -> None:
    size = int(Path("/proc/self/statm").read_bytes().split(None, 1)[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = size + GROWTH_BYTES if hard == resource.RLIM_INFINITY else min(hard, size + GROWTH_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
