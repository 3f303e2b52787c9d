"""A child: reads frames, works on them, sends results back. Everything between here and `pool.py` is the boundary.

It waits in two places only, for input and for the parent to take output; between them it belongs to the code of
others, within the bounds of `workers.limits`. It ends when its socket closes.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import Any, Final

import msgspec

from ingestd.errors import Retryable
from ingestd.workers.board import PHASE, Blame, Board, Phase
from ingestd.workers.contracts import Stages
from ingestd.workers.frames import (
    CANCEL,
    CREDIT,
    DATA,
    END,
    HEADER,
    OPEN,
    RESULT,
    Call,
    Open,
    Reply,
    encode,
    pack,
)
from ingestd.workers.limits import (
    MemoryLimit,
    RuleClock,
    forbid_processes,
    give_up,
    let_the_parent_go_first,
    prefer_for_oom,
)
from ingestd.workers.settings import ChildSettings
from ingestd.workers.work import Work

_READ_BYTES: Final = 512 << 10
_CREDIT_BYTES: Final = 256 << 10
"""Credit is given in sums of about this size, or when there is nothing else to do."""
_ENOUGH_ROWS: Final = 256
"""Rows worth a result of their own when there is no more input; fewer wait for a moment."""
_KEPT_SHARE: Final = 0.25
"""Share of its memory that may stay in use after a detection's MemoryError without consequence."""

_decode_open = msgspec.msgpack.Decoder(Open).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def run(fds: list[int], stages: Stages, settings: ChildSettings) -> None:
    """Live as a child on `fds` (data socket, call socket, board) until the parent closes the data socket."""
    data, calls, board = fds
    prefer_for_oom()
    let_the_parent_go_first()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process: what detections print is no result
    Child(socket.socket(fileno=data), socket.socket(fileno=calls), Board(board), stages, settings).run()


class Child:
    """The loop of this process."""

    def __init__(
        self, data: socket.socket, calls: socket.socket, board: Board, stages: Stages, settings: ChildSettings
    ) -> None:
        for end in (data, calls):
            end.setblocking(True)
        self._data = data
        self._calls = calls
        self._sockets = [(end.fileno(), os.fstat(end.fileno()).st_ino) for end in (data, calls)]
        self._board = board
        self._stages = stages
        self._linger_ms = settings.linger_seconds * 1000
        self._poll = select.poll()
        self._poll.register(data.fileno(), select.POLLIN)
        self._input = b""
        self._output: list[bytes | memoryview] = []
        self._credit = 0
        self._noted = ""
        self._call_serial = -1
        self._call_numbers: dict[str, int] = {}
        forbid_processes()
        self._clock = RuleClock(stages.watch, board, settings.rule_seconds, settings.rule_wall_seconds)
        self._memory = MemoryLimit(settings.memory_bytes)
        self._work = Work(
            stages, settings, board, self._emit, spent=self._spent, note=self._note, stage_shares=self._stage_shares
        )
        stages.connect(self._ask)

    def run(self) -> None:
        """Until the parent closes the socket."""
        self._clock.start()
        while self._receive():
            self._frames()
            if self._work.due:
                self._work.flush()
            self._send()
        self._work.flush()
        self._send()

    # --- input ----------------------------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Wait for input; first for a moment only if rows are pending. False at the end."""
        self._board.words[PHASE] = Phase.IDLE
        if not self._has_input(0):
            self._give_credit()
            self._send()
            worth_sending = self._work.rows >= _ENOUGH_ROWS
            if self._work.pending and (worth_sending or not self._has_input(self._linger_ms)):
                self._work.flush()
                self._send()
            self._clock.stop()
            self._board.words[PHASE] = Phase.IDLE
            self._has_input(None)
            self._clock.start()
        try:
            data = self._data.recv(_READ_BYTES)
        except ConnectionError:
            return False
        self._input = self._input + data if self._input else data
        return bool(data)

    def _has_input(self, timeout_ms: float | None) -> bool:
        ready = self._poll.poll(timeout_ms)
        if any(event & select.POLLNVAL for _, event in ready):
            give_up(self._board, Blame.BROKEN)
        return bool(ready)

    def _frames(self) -> None:
        """Work on the frames that are there whole."""
        data = self._input
        at, size = 0, len(data)
        while size - at >= HEADER.size:
            kind, length, task = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if end > size:
                break
            self._frame(kind, task, data[at + HEADER.size : end])
            at = end
        self._input = data[at:]

    def _frame(self, kind: int, task: int, payload: bytes) -> None:
        work = self._work
        if kind == DATA:
            work.data(task, payload)
        elif kind == OPEN:
            work.open(_decode_open(payload))
        elif kind == END:
            work.end(task)
        elif kind == CANCEL:
            work.cancel(task)

    # --- output ---------------------------------------------------------------------------------------------

    def _emit(self, kind: int, task: int, payload: bytes) -> None:
        if kind == CREDIT:
            self._credit += task
            if self._credit >= _CREDIT_BYTES:
                self._give_credit()
                self._send()
            return
        self._output.extend(pack(kind, task, payload))
        if kind == RESULT:
            self._send()
            if self._memory.is_full():
                give_up(self._board, Blame.FULL)

    def _give_credit(self) -> None:
        if self._credit:
            self._output.extend(pack(CREDIT, self._credit))
            self._credit = 0

    def _send(self) -> None:
        if not self._output:
            return
        self._check_sockets("")
        words = self._board.words
        phase, words[PHASE] = words[PHASE], Phase.SEND
        try:
            self._data.sendall(b"".join(self._output))
        except ConnectionError:  # the parent is gone
            os._exit(0)
        self._output.clear()
        words[PHASE] = phase

    # --- bounds ---------------------------------------------------------------------------------------------

    def _check_sockets(self, rule: str) -> None:
        """End this process if a detection closed its sockets, before someone else's file gets our frames."""
        for fd, inode in self._sockets:
            try:
                if os.fstat(fd).st_ino == inode:
                    continue
            except OSError:
                pass
            give_up(self._board, Blame.BROKEN, rule)

    def _note(self, rule: str) -> None:
        if self._noted:
            self._check_sockets(self._noted)
        self._noted = rule
        self._board.note(rule)

    def _spent(self, rule: str) -> None:
        """Memory ran out: in the detection `rule`, or when that is not known, anywhere."""
        if rule and not self._memory.is_full(_KEPT_SHARE):
            return  # it gave back what it had taken
        self._memory.open_reserve()
        if self._stages.watch.before_call is None:
            give_up(self._board, Blame.NONE)  # a bystander may be the one who noticed: look closely
        give_up(self._board, Blame.MEMORY, rule or self._noted)

    def _stage_shares(self) -> dict[str, float]:
        samples, self._clock.samples = self._clock.samples, [0] * len(Phase)
        working = {phase: samples[phase] for phase in (Phase.FRAME, Phase.READ, Phase.DETECT, Phase.BUILD)}
        total = sum(working.values())
        return {phase.name.lower(): count / total for phase, count in working.items() if count}

    # --- the detections' requests ---------------------------------------------------------------------------

    def _ask(self, name: str, body: Any) -> Any:
        """Send a detection's request to the parent and wait; the time does not count against the detection."""
        watch, words = self._stages.watch, self._board.words
        if watch.serial != self._call_serial:
            self._call_serial, self._call_numbers = watch.serial, {}
        number = self._call_numbers.get(name, 0)
        self._call_numbers[name] = number + 1
        call = Call(number=number, rule=watch.running or "", row_id=self._work.row_id, name=name, body=body)
        phase = words[PHASE]
        self._clock.waiting = True
        words[PHASE] = Phase.CALL
        try:
            reply = self._exchange(encode(call))
        finally:
            words[PHASE] = phase
            self._clock.waiting = False
        if reply.error is not None:
            raise Retryable(reply.error)
        return reply.value

    def _exchange(self, request: bytes) -> Reply:
        try:
            self._calls.sendall(len(request).to_bytes(4, "big") + request)
            length = int.from_bytes(self._exactly(4), "big")
            return _decode_reply(self._exactly(length))
        except OSError:
            give_up(self._board, Blame.BROKEN, self._noted)
            raise

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._calls.recv(length - len(data))
            if not piece:
                os._exit(0)  # the parent is gone
            data += piece
        return data
