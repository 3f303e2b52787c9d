"""The process that loads one generation of code and forks children that share it.

It is a fresh interpreter with a scrubbed environment, single-threaded, and does nothing but wait: for the parent,
which asks for children, and for children, which end. It dies with the parent and its children die with it.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import resource
import signal
import socket
import sys
import traceback
from selectors import EVENT_READ, DefaultSelector
from typing import NoReturn

import msgspec

from ingestd.detections import hiding
from ingestd.errors import ConfigError
from ingestd.workers import child
from ingestd.workers.contracts import Stages
from ingestd.workers.limits import die_with, leave_the_terminal
from ingestd.workers.orders import (
    CHILD_FDS,
    Boot,
    Exited,
    Fault,
    Fork,
    Forked,
    Kill,
    Loaded,
    Order,
    Refused,
    Report,
    frame,
    take_frame,
)
from ingestd.workers.settings import ChildSettings, CodeSpec

_decode_order = msgspec.msgpack.Decoder[Order](Order).decode


def main() -> None:
    """Entry point: `argv` is the number of the control socket and the pid of the parent."""
    die_with(int(sys.argv[2]))
    leave_the_terminal()
    faulthandler.enable()  # a crash in C says on stderr which detection it was in
    sys.stderr = hiding.Hiding(sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Zygote(socket.socket(fileno=int(sys.argv[1]))).run()


class Zygote:
    """The loop of this process."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._pids: dict[int, int] = {}
        """pid → child."""

    def run(self) -> None:
        """Load, then serve until the parent goes."""
        while (boot := self._take()) is None:
            self._receive()
        if not isinstance(boot, Boot):
            return
        stages = self._load(boot.spec)
        if stages is None:
            return
        gc.collect()
        gc.freeze()
        threads = len(os.listdir("/proc/self/task"))
        self._send(
            Loaded(
                description=stages.description,
                detections=stages.detections,
                timetable=stages.timetable,
                threads=threads,
            )
        )
        self._serve(stages, boot.settings)

    def _load(self, spec: CodeSpec) -> Stages | None:
        try:
            module, _, function = spec.factory.partition(":")
            stages: Stages = getattr(importlib.import_module(module), function)(spec)
        except ConfigError as error:
            names = Fault.__struct_fields__
            self._send(Refused(faults=[Fault(**{n: getattr(p, n) for n in names}) for p in error.problems]))
            return None
        except BaseException:  # noqa: BLE001 - code of users runs here; whatever it raises is the parent's to tell
            self._send(Refused(faults=[Fault(message=f"the code does not load: {traceback.format_exc(limit=-8)}")]))
            return None
        return stages

    def _serve(self, stages: Stages, settings: ChildSettings) -> None:
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with DefaultSelector() as selector:
            selector.register(self._control, EVENT_READ)
            selector.register(woken, EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if woken in ready:
                    woken.recv(4096)
                    self._reap()
                if self._control in ready:
                    self._receive()
                    while (order := self._take()) is not None:
                        if isinstance(order, Fork):
                            self._fork(order.child, stages, settings, (selector, woken, wake))
                        elif isinstance(order, Kill):
                            self._kill(order.child)

    def _fork(
        self,
        number: int,
        stages: Stages,
        settings: ChildSettings,
        ours: tuple[DefaultSelector, socket.socket, socket.socket],
    ) -> None:
        fds, self._fds = self._fds[:CHILD_FDS], self._fds[CHILD_FDS:]
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._send(Forked(child=number, pid=0, error=str(error)))
        else:
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (*ours, self._control):
                    end.close()
                for fd in self._fds:
                    os.close(fd)
                _be_child(zygote, fds, stages, settings)
            self._pids[pid] = number
            self._send(Forked(child=number, pid=pid))
        for fd in fds:
            os.close(fd)

    def _end(self) -> NoReturn:
        """The parent let go: nothing is left when this process is."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            _kill_group(pid)
            os.waitpid(pid, 0)  # now its CPU time counts as ours, for whoever asks what the daemon took
        os._exit(0)

    def _kill(self, number: int) -> None:
        for pid, child_number in self._pids.items():
            if child_number == number:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._pids:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            # While the child is a zombie its group's id cannot go to anyone else: now is the time to end what a
            # detection started and left behind.
            if found.si_pid in self._pids:
                _kill_group(found.si_pid)
            _, status = os.waitpid(found.si_pid, 0)
            number = self._pids.pop(found.si_pid, None)
            if number is not None:
                self._send(Exited(child=number, status=os.waitstatus_to_exitcode(status)))

    def _receive(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, 1 << 16, CHILD_FDS, socket.MSG_CMSG_CLOEXEC)
        self._fds += fds
        if not data:
            self._end()
        self._buffer += data

    def _take(self) -> Order | None:
        """The next order that has arrived whole."""
        payload = take_frame(self._buffer)
        return None if payload is None else _decode_order(payload)

    def _send(self, report: Report) -> None:
        try:
            self._control.sendall(frame(report))
        except OSError:  # the parent is gone, and so are we
            os._exit(0)


def _be_child(zygote: int, fds: list[int], stages: Stages, settings: ChildSettings) -> NoReturn:
    status = 1
    try:
        die_with(zygote)
        os.setpgid(0, 0)
        child.run(fds, stages, settings)
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of this process; the parent sees the exit status
        traceback.print_exc()
    finally:
        os._exit(status)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


if __name__ == "__main__":
    main()
