"""One generation of code in the parent's eyes: its zygote, which loads it and forks children that share it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from ingestd.errors import ConfigError, Problem, Retryable
from ingestd.workers.orders import Boot, Fork, Forked, Kill, Loaded, Order, Refused, Report, frame, take_frame
from ingestd.workers.settings import ChildSettings, CodeSpec, PoolSettings

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from ingestd.workers.zygote import main; main()"
)
_ENVIRONMENT: Final = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "PYTHONHASHSEED",
    "PYTHONUTF8",
)
_KEPT_SHARE: Final = 8
"""A child keeps up to the eighth part of its memory for the next result when it is free. Fresh pages from the kernel
for each one cost more than filling them; a detection that gave back what it had taken may keep a quarter."""
_LONGEST_KEPT: Final = 32 << 20
"""More the C library does not take."""
_END_SECONDS: Final = 2.0
T = TypeVar("T")
_decode = msgspec.msgpack.Decoder(Report).decode


class ZygoteDied(Retryable):
    """The zygote is gone; another must be started."""


class Child:
    """A process that the zygote forked. `exited` resolves with its status, or None if that is not known."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        loop = asyncio.get_running_loop()
        self.forked: asyncio.Future[Forked] = loop.create_future()
        self.exited: asyncio.Future[int | None] = loop.create_future()


class Zygote:
    """The zygote process. Make with `start`; `died` is set when it is gone."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._children: dict[int, Child] = {}
        self._numbers = 0
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        """Orders, with copies of their file descriptors, that found the socket full."""
        self.died = asyncio.Event()
        self.loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._listener = asyncio.create_task(self._listen(), name="zygote")

    @staticmethod
    async def start(spec: CodeSpec, settings: PoolSettings, environ: Mapping[str, str] = os.environ) -> Zygote:
        """Start one and load `spec`. Raises ConfigError with every problem that loading found."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        path = json.dumps([entry for entry in sys.path if entry])
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), str(os.getpid()), path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=scrubbed(environ, settings.environment) | heap(settings.memory_bytes),
            )
        zygote = Zygote(process, ours)
        boot = frame(Boot(spec=spec, settings=ChildSettings.of(settings)))
        try:
            await asyncio.get_running_loop().sock_sendall(ours, boot)
            async with asyncio.timeout(settings.load_seconds):
                await asyncio.shield(zygote.loaded)
        except TimeoutError:
            await zygote.close()
            raise ConfigError(
                [Problem(f"schemas and detections took more than {settings.load_seconds:g} s to load")]
            ) from None
        except BaseException:
            await zygote.close()
            raise
        return zygote

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def fork(self, fds: Iterable[int]) -> Child:
        """Start a child that owns copies of `fds`. Raises ZygoteDied, or Retryable when the system refuses."""
        self._numbers += 1
        child = Child(self._numbers)
        self._children[child.number] = child
        if self.died.is_set():
            raise ZygoteDied("the zygote is gone")
        self._order(Fork(child=child.number), fds)
        forked = await child.forked
        if not forked.pid:
            self._children.pop(child.number, None)
            raise Retryable(f"no new worker process: {forked.error}")
        child.pid = forked.pid
        return child

    def kill(self, child: Child) -> None:
        """End a child now."""
        with contextlib.suppress(ZygoteDied):  # then the child is dead or dying already
            self._order(Kill(child=child.number))

    async def close(self) -> None:
        """End the zygote, and with it its children. Idempotent."""
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        self._forget_orders()
        self._control.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._lost()

    def _order(self, order: Order, fds: Iterable[int] = ()) -> None:
        """Send an order, now or as soon as the zygote takes it. Raises ZygoteDied."""
        if self._control.fileno() < 0:
            raise ZygoteDied("the zygote was closed")
        self._unsent.append((frame(order), [os.dup(fd) for fd in fds]))
        if len(self._unsent) == 1 and not self._send_orders():
            raise ZygoteDied("the zygote does not take orders")

    def _send_orders(self) -> bool:
        """Send what waits; the rest when the socket has room. False when the zygote is gone."""
        loop = asyncio.get_running_loop()
        while self._unsent:
            data, fds = self._unsent[0]
            try:
                sent = socket.send_fds(self._control, [data], fds)
            except BlockingIOError:  # it is busy, or stopped
                loop.add_writer(self._control, self._send_orders)
                return True
            except OSError:
                self._forget_orders()
                return False
            _close(fds)  # they went with the first byte
            self._unsent[0] = (data[sent:], [])
            if sent == len(data):
                self._unsent.popleft()
        loop.remove_writer(self._control)
        return True

    def _forget_orders(self) -> None:
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_writer(self._control)
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()

    async def _listen(self) -> None:
        """Take reports until the zygote is gone."""
        buffer = bytearray()
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._control, 1 << 16):
                buffer += data
                while (payload := take_frame(buffer)) is not None:
                    self._report(_decode(payload))
        except ConnectionError:
            pass
        await self._process.wait()
        self._lost()

    def _report(self, report: Report) -> None:
        if isinstance(report, Loaded):
            self.loaded.set_result(report)
        elif isinstance(report, Refused):
            self.loaded.set_exception(ConfigError([fault.problem() for fault in report.faults]))
        elif isinstance(report, Forked):
            if child := self._children.get(report.child):
                _resolve(child.forked, report)
        elif child := self._children.pop(report.child, None):
            _resolve(child.exited, report.status)

    def _lost(self) -> None:
        """The zygote is gone, and the kernel has ended its children."""
        self.died.set()
        self._forget_orders()
        status = self._process.returncode
        if not self.loaded.done():
            problem = Problem(f"loading schemas and detections ended the process that did it (exit status {status})")
            self.loaded.set_exception(ConfigError([problem]))
            self.loaded.exception()  # it may be that nobody waits
        for child in self._children.values():
            _resolve(child.exited, None)
            if not child.forked.done():
                child.forked.set_exception(ZygoteDied("the zygote died"))
                child.forked.exception()
        self._children.clear()


def scrubbed(environ: Mapping[str, str], allowed: Iterable[str] = ()) -> dict[str, str]:
    """What a child may see of an environment: what Python needs, and what the configuration allows."""
    return {name: environ[name] for name in (*_ENVIRONMENT, *allowed) if name in environ}


def heap(memory_bytes: int) -> dict[str, str]:
    """Environment of a process without threads, whose one heap keeps for Arrow and Python what they need again."""
    kept = memory_bytes // _KEPT_SHARE
    return {
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": str(kept),
        "MALLOC_MMAP_THRESHOLD_": str(min(kept, _LONGEST_KEPT)),
    }


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
