"""What a child does with bytes: objects in, results out, whatever carries them.

Rows collect across objects until there are enough of them, or until the owner sees nothing more to do and calls
`flush`. One record is alive at a time. Nothing that a record or a detection does is raised to the owner.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ingestd.decode.block import Block, Damage
from ingestd.errors import RuleTimeout
from ingestd.model import Match, ObjectDone, ObjectTask
from ingestd.workers.board import FRAMES, ORDINAL, PHASE, TASK, Board, Phase
from ingestd.workers.collect import Collector
from ingestd.workers.contracts import Event, Filtered, Read, Stages
from ingestd.workers.frames import CANCELLED, CREDIT, DONE, RESULT, Open, encode
from ingestd.workers.reading import Reading
from ingestd.workers.settings import ChildSettings

KILLED: Final = "WorkerKilled"
"""In the place of an exception's class: the detection ended the worker on this event."""


class _Unread:
    """Stands for decoder and session of an object of which nothing was read."""

    framing = None
    tail_open = False
    records = 0


_NOTHING: Final[Any] = _Unread()
"""In the place of a decoder and a session, where nothing is read."""
_KILLED_DETAIL: Final = (
    "this detection ended its worker process on this event, or never came back from it; it was skipped"
)


class ResultLost(BaseException):
    """The result could not be made, and its rows are gone. Ends the child, so that its objects run again; not an
    Exception, because no handler on the way may go on as if the rows were there."""


Emit = Callable[[int, int, bytes], None]
"""`(kind, task, payload)`: sends one message of `workers.frames`."""


class Work:
    """All objects of one child.

    `spent(rule)` is called when memory ran out: with the id of a detection that reported a MemoryError, and returns
    when that one gave back what it had taken; or with "" when it is not known where, and does not return.
    `stage_shares` tells which share of the time went where since its last call.
    `note(rule)` is called in careful mode before each evaluation, and with "" after the last one of a record.
    """

    def __init__(
        self,
        stages: Stages,
        settings: ChildSettings,
        board: Board,
        emit: Emit,
        *,
        spent: Callable[[str], None],
        note: Callable[[str], None],
        stage_shares: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._stages = stages
        self._flush_seconds = settings.flush_seconds
        self._board = board
        self._words = board.words
        self._emit = emit
        self._spent = spent
        self._note = note
        self._collector = Collector(stages, settings, stage_shares)
        self._readings: dict[int, Reading] = {}
        self._ended: list[tuple[int, int, bytes]] = []
        """DONE and CANCELLED messages that wait for the result with the last rows of their object."""
        self._since = 0.0
        self.row_id = ""
        """`p_row_id` of the event in the detections."""

    @property
    def pending(self) -> bool:
        """Whether `flush` would send anything."""
        return bool(self._ended) or not self._collector.empty

    @property
    def rows(self) -> int:
        """Rows pending."""
        return self._collector.builder.rows

    @property
    def due(self) -> bool:
        """Whether what is pending has waited long enough although more is coming."""
        return self.pending and time.monotonic() - self._since >= self._flush_seconds

    # --- messages from the parent ---------------------------------------------------------------------------

    def open(self, opening: Open) -> None:
        """An object begins."""
        task = opening.task
        if opening.condemned:
            self._refuse(
                task, opening.condemned, "its bytes ended several worker processes, no detection was to blame"
            )
            return
        try:
            reading = Reading(opening, self._stages.decoder(task), self._stages.session(task))
        except Exception:  # noqa: BLE001 - an object that cannot be begun is its own reject, not the end of the child
            self._refuse(task, "internal_error", traceback.format_exc(limit=-5))
        else:
            self._readings[task.task] = reading

    def data(self, number: int, payload: bytes) -> None:
        """Stored bytes of an object. Those of an object that has ended are passed over."""
        reading = self._readings.get(number)
        if reading is not None:
            self._read(reading, reading.decoder.feed(payload))
            if reading.decoder.failure is not None:
                self._finish(reading)
        self._emit(CREDIT, len(payload), b"")

    def end(self, number: int) -> None:
        """The object's bytes are complete."""
        reading = self._readings.get(number)
        if reading is not None:
            self._read(reading, reading.decoder.finish())
            self._finish(reading)

    def cancel(self, number: int) -> None:
        """The object's bytes do not come. What was worked on is returned all the same."""
        self._readings.pop(number, None)
        self._answer(CANCELLED, number, b"")

    def flush(self) -> None:
        """Return everything that is pending."""
        if not self._collector.empty:
            self._words[PHASE] = Phase.BUILD
            self._emit(RESULT, 0, self._result())
        for message in self._ended:
            self._emit(*message)
        self._ended.clear()

    def _result(self) -> bytes:
        try:
            return encode(self._collector.take())
        except MemoryError:
            self._spent("")
            raise
        except Exception as error:
            raise ResultLost from error

    # --- one object -----------------------------------------------------------------------------------------

    def _answer(self, kind: int, task: int, payload: bytes) -> None:
        """Send after the next result."""
        if not self.pending:
            self._since = time.monotonic()
        self._ended.append((kind, task, payload))

    def _touch(self, reading: Reading) -> None:
        if not self.pending:
            self._since = time.monotonic()
        self._collector.touch(reading)

    def _refuse(self, task: ObjectTask, reason: str, detail: str) -> None:
        """The whole object is a reject, or what is left of it after the ordinals that are skipped."""
        ordinal = max((task.first_ordinal, *(end for _, end in task.skip)))
        reading = Reading(Open(task=task), _NOTHING, _NOTHING)
        for _, end, wanted in reading.segments(task.first_ordinal, ordinal + 1):
            if wanted:
                reading.next = end
            else:
                reading.pass_over(end)
        self._collector.add_reject(task, ordinal, reason, detail)
        self._touch(reading)
        done = ObjectDone(
            task=task.task, records=ordinal + 1, plain_bytes=0, framing=task.route.framing.name, failure=reason
        )
        self._answer(DONE, task.task, encode(done))

    def _finish(self, reading: Reading, failure: str | None = None) -> None:
        """No more records come of this object."""
        if self._readings.pop(reading.task.task, None) is None:
            return
        decoder = reading.decoder
        done = ObjectDone(
            task=reading.task.task,
            records=reading.next if failure else decoder.records,
            plain_bytes=decoder.plain_bytes,
            framing=decoder.framing,
            compression=decoder.compression,
            tail_open=decoder.tail_open,
            failure=failure or decoder.failure,
        )
        self._answer(DONE, reading.task.task, encode(done))

    def _read(self, reading: Reading, blocks: Iterable[Block]) -> None:
        """Work on all records that the bytes at hand give."""
        words = self._words
        words[TASK] = reading.task.task
        words[FRAMES] += 1
        words[ORDINAL] = reading.next
        words[PHASE] = Phase.FRAME
        try:
            for block in blocks:
                self._block(reading, block)
                words[ORDINAL] = reading.next
                words[PHASE] = Phase.FRAME
        except MemoryError:
            self._spent("")
        except Exception:  # noqa: BLE001 - a mistake of a decoder ends this object with a reject, and nothing else
            self._collector.add_reject(reading.task, reading.next, "internal_error", traceback.format_exc(limit=-5))
            reading.next += 1
            self._touch(reading)
            self._finish(reading, "internal_error")

    def _block(self, reading: Reading, block: Block) -> None:
        for first, end, wanted in reading.segments(block.first, block.first + len(block.records)):
            self._heed_suspensions()
            self._touch(reading)
            if not wanted:
                if first == 0 and not isinstance(block.records[0], Damage):
                    reading.session.prime(block.records[0])  # it may be a header line
                reading.pass_over(end)
            elif first < reading.careful_until:
                self._carefully(reading, block, first, end)
            elif reading.is_marked(first):
                self._one(reading, block, first)
            elif reading.task.route.resource_types or reading.task.route.results:
                for ordinal in range(first, end):
                    self._one(reading, block, ordinal)
            else:
                self._records(reading, block, first, end)
            if self._collector.full or self.due:
                self.flush()

    def _heed_suspensions(self) -> None:
        """Leave out what the parent says. The result so far goes first, so that what is missed begins after it."""
        rules = self._board.take_suspended()
        if rules is not None:
            self.flush()
            self._stages.engine.suspended.update(rules)

    def _records(self, reading: Reading, block: Block, start: int, end: int) -> None:
        """The inner loop: ordinals `[start, end)` of a block, none of them marked. What `_one` does, unrolled."""
        words = self._words
        records, header, first = block.records, block.header, block.first
        collector, stages = self._collector, self._stages
        read, evaluate, enrich = reading.session.read, stages.engine.evaluate, stages.enrich
        add_event = collector.builder.add_event
        ok, newest, suspended = reading.ok, collector.newest, stages.engine.suspended
        for ordinal in range(start, end):
            words[ORDINAL] = ordinal
            words[PHASE] = Phase.READ
            record = records[ordinal - first]
            try:
                if isinstance(record, Damage):
                    self._one(reading, block, ordinal)
                    continue
                event = read(record, ordinal, header)
                if not isinstance(event, dict):
                    self._row(reading, block, ordinal, event)
                    reading.next = ordinal + 1
                    continue
                if enrich is not None:
                    enrich(event)
                log_type = event["p_log_type"]
                self.row_id = event["p_row_id"]
                words[PHASE] = Phase.DETECT
                matches = evaluate(event, log_type)
                words[PHASE] = Phase.BUILD
                add_event(event, len(record))
                ok[log_type] = ok.get(log_type, 0) + 1
                if event["p_event_time"] > newest.get(log_type, ""):
                    newest[log_type] = event["p_event_time"]
                if suspended:
                    collector.add_missed(reading, event, log_type)
                if matches:
                    self._matched(matches, event)
                    if self._collector.full or self.due:
                        reading.next = ordinal + 1
                        self.flush()
                        self._heed_suspensions()
                        self._touch(reading)
            except MemoryError:
                self._spent("")
            except (Exception, RuleTimeout):  # noqa: BLE001 - a mistake of a room becomes this record's reject
                self._broken(reading, block, ordinal)
            reading.next = ordinal + 1

    def _one(self, reading: Reading, block: Block, ordinal: int) -> None:
        """One record, whatever it is."""
        self._words[ORDINAL] = ordinal
        self._words[PHASE] = Phase.READ
        record = block.records[ordinal - block.first]
        try:
            if ordinal in reading.task.skip_records:
                detail = "reading this record ended a worker process"
                self._reject(reading, block, ordinal, "worker_killed", detail)
            elif isinstance(record, Damage):
                self._reject(reading, block, ordinal, record.reason, record.detail)
            else:
                self._row(reading, block, ordinal, reading.session.read(record, ordinal, block.header))
        except MemoryError:
            self._spent("")
        except (Exception, RuleTimeout):  # noqa: BLE001 - a mistake of a room becomes this record's reject
            self._broken(reading, block, ordinal)
        reading.next = ordinal + 1

    def _row(self, reading: Reading, block: Block, ordinal: int, read: Read) -> None:
        """What a record was read as: an event, several, nothing, or a refusal."""
        if isinstance(read, dict):
            self._event(reading, ordinal, read)
        elif isinstance(read, Sequence):
            for item in read:
                self._row(reading, block, ordinal, item)
        elif isinstance(read, Filtered):
            reading.count(read.log_type, "filtered")
        elif read is not None:
            self._reject(reading, block, ordinal, read.reason, read.detail, read.log_type)

    def _event(self, reading: Reading, ordinal: int, event: Event) -> None:
        stages, collector, words = self._stages, self._collector, self._words
        if stages.enrich is not None:
            stages.enrich(event)
        log_type: str = event["p_log_type"]
        self.row_id = event["p_row_id"]
        skip = reading.skip_calls.get(ordinal, frozenset())
        words[PHASE] = Phase.DETECT
        scope = event["name"] if reading.task.route.results else log_type
        if reading.task.route.results:
            matches = stages.engine.judge(event, skip)
        elif reading.task.route.resource_types:
            matches, checked = stages.engine.check(event, skip)
            if stages.engine.has_policies:  # a backfill without detections leaves the compliance state alone
                collector.add_resource(checked)
        else:
            matches = stages.engine.evaluate(event, log_type, skip)
        words[PHASE] = Phase.BUILD
        if not reading.task.route.results:
            collector.builder.add_event(event)
        reading.ok[log_type] = reading.ok.get(log_type, 0) + 1
        collector.newest[log_type] = max(event["p_event_time"], collector.newest.get(log_type, ""))
        if stages.engine.suspended:
            collector.add_missed(reading, event, scope)
        if skip:
            killers = sorted(skip.intersection(stages.rules_of(scope)))
            matches += [stages.failed(rule, event, KILLED, _KILLED_DETAIL) for rule in killers]
        self._matched(matches, event)

    def _carefully(self, reading: Reading, block: Block, start: int, end: int) -> None:
        """Ordinals `[start, end)`, each call noted, results returned often."""
        watch = self._stages.watch
        watch.before_call = self._note
        for ordinal in range(start, end):
            self._touch(reading)
            self._one(reading, block, ordinal)
            self._note("")
            self._heed_suspensions()
            if time.monotonic() - self._since >= reading.flush_seconds:
                self.flush()
        watch.before_call = None

    def _matched(self, matches: list[Match], event: Event) -> None:
        for match in matches:
            if match.kind == "error" and match.dedup == "MemoryError":
                self._spent(match.detection_id)
        self._collector.add_matches(matches, event)

    def _broken(self, reading: Reading, block: Block, ordinal: int) -> None:
        """A room raised what it should not. Called in the handler."""
        self._reject(reading, block, ordinal, "internal_error", traceback.format_exc(limit=-5))

    def _reject(
        self, reading: Reading, block: Block, ordinal: int, reason: str, detail: str, log_type: str = ""
    ) -> None:
        record = block.records[ordinal - block.first]
        self._collector.add_reject(
            reading.task,
            ordinal,
            reason,
            detail,
            log_type=log_type,
            payload=record.payload if isinstance(record, Damage) else record,
            offset=record.offset if isinstance(record, Damage) else block.offset_of(ordinal - block.first),
        )
        is_unknown = not log_type and not isinstance(record, Damage)
        reading.count(log_type, "unclassified" if is_unknown else "invalid")
