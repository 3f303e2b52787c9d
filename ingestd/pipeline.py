"""The path of one source, from a message to its acknowledgement, top to bottom.

    receive ── Delivery ──► deliver ── ObjectRef ──► read ── ChunkResult ──► keep ──► committed ──► acknowledge

Data flows one way and every `await` is back-pressure: nothing is received that cannot be read soon.
What becomes of a message that fails stands in `_failed`; how messages are held, in `ingestd.holding`; how one object
is claimed, read and committed, in `ingestd.reading`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import msgspec
import stamina

from ingestd import notices, rejects
from ingestd.alerts.recorder import Alerts
from ingestd.config.models import SourceConfig
from ingestd.errors import AttemptFailed, Permanent, Retryable
from ingestd.holding import Holding
from ingestd.lake.writer import Writer
from ingestd.messages import identity_of
from ingestd.model import ChunkResult, Delivery
from ingestd.notices.base import Unknown
from ingestd.notices.payload import payload
from ingestd.reading import BUSY_SECS, Commit, Reading, Shared
from ingestd.sources.base import Source
from ingestd.telemetry import occurrences
from ingestd.telemetry.health import Component, Health

RECEIVE_WAIT_SECS = 1.0
"""How long an empty queue is waited on before what was read so far is committed."""
RECEIVE_ATTEMPTS_ONCE = 5
"""How often in a row a source that does not answer is asked, where somebody waits for the end."""
LARGE_COUNTS_AS = 8
"""A large object takes the place of so many small ones, as a worker reads only a few of them side by side."""
LONGEST_BACK_OFF_SECS = 300.0
FINISHED_REASONS = frozenset({"not_found"})
"""Permanent failures that leave nothing to do: the reject is written and the message acknowledged."""


class Keeper:
    """Takes what children return: first into the alert state, then into the lake."""

    def __init__(self, alerts: Alerts, writer: Writer, health: Health) -> None:
        self._alerts = alerts
        self._writer = writer
        self._health = health

    async def keep(self, result: ChunkResult) -> None:
        """A row in the lake tells the id and severity of its alert, which is durable then; hence the order."""
        alert_ids: Sequence[str | None] = ()
        if result.matches or result.resources:
            async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=None, wait_max=10.0):
                with attempt:
                    alert_ids = await self._alerts.record(result.matches, result.resources)
                    matches = await self._alerts.as_alerted(result.matches, alert_ids)
            result = msgspec.structs.replace(result, matches=matches)
        await self._writer.add(result, alert_ids)
        self._health.moved()
        occurrences.chunk_returned(result)


class Pipeline:
    """One source at work: `run` until `stop`, or with `once` until nothing is left; then `drain`."""

    def __init__(
        self, source: Source, config: SourceConfig, shared: Shared, component: Component, *, reading_limit: int
    ) -> None:
        self.source = source
        self._component = component
        self._config = config
        self._objects = Reading(source.name, config, shared)
        self._shared = shared
        self._room = asyncio.Event()
        """Set when something may have become less: what is read, or what is held."""
        self._holding = Holding(source, self._room.set)
        self._reading_limit = reading_limit
        self._half_full = False
        self._reading: set[asyncio.Task[None]] = set()
        self._failed_receives = 0
        """In a row."""
        self._stopping = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, Delivery] = {}
        """Messages of which all is read, and not committed yet: too many to be tasks. By `id`, as one that was lost
        may come again meanwhile."""
        self._beside: list[asyncio.Task[None]] = []
        """Leases and acknowledgements: they go on until the end of the drain."""

    # --- the path -------------------------------------------------------------------------------------------

    async def run(self, *, once: bool = False) -> None:
        """Receive and deliver until stopped; leases are kept and messages acknowledged beside."""
        self._beside = self._holding.tasks()
        while not self._stopping.is_set():
            received = await self._receive(once=once)
            fresh = self._holding.take(received or [])
            if self._stopping.is_set():
                await asyncio.gather(*(self._holding.give_back(delivery, 0.0, "drain") for delivery in fresh))
                break
            for delivery in fresh:
                self._start(delivery)
            self._commit_in_time()
            if received != []:
                continue
            if not self._reading:
                self._shared.writer.request_commit("idle")
            if once and not await self._some_delivered():
                break

    def _commit_in_time(self) -> None:
        """Ask for a commit when half of what may be held is held: the other half is received meanwhile."""
        half_full = 2 * len(self._holding) >= self._config.max_held
        if half_full and not self._half_full:
            self._shared.writer.request_commit("held")
        self._half_full = half_full

    async def _receive(self, *, once: bool) -> list[Delivery] | None:
        """As many messages as can be read soon; waits while that is none. None when the source could not be asked:
        it is asked again for ever, or a few times where somebody waits for the end."""
        while (room := self._room_for_messages()) <= 0 and not self._stopping.is_set():
            if len(self._holding) >= self._config.max_held:
                self._shared.writer.request_commit("held")
            self._room.clear()
            await self._room.wait()
        if self._stopping.is_set():
            return None
        try:
            received = await self.source.receive(room, 0.0 if once else RECEIVE_WAIT_SECS)
        except Retryable as error:
            self._component.failing(error)
            self._failed_receives += 1
            if once and self._failed_receives == RECEIVE_ATTEMPTS_ONCE:
                raise Permanent(str(error), reason="unavailable") from error
            pause = error.retry_after or RECEIVE_WAIT_SECS
            occurrences.receive_failed(self.source.name, error, in_secs=pause)
            await _within(pause, self._stopping)
            return None
        self._component.ok()
        self._failed_receives = 0
        return received

    async def _some_delivered(self) -> bool:
        """Wait until one more message was read or let go of; False when none is held."""
        if not self._unfinished and not len(self._holding):
            return False
        self._room.clear()
        await self._room.wait()
        return True

    async def _deliver(self, delivery: Delivery) -> Commit | None:
        """One message, from its notice until all that it names is read: answers the commit of an only object, which
        is still to come. Those of several are waited for."""
        try:
            if self.source.max_receives is not None and delivery.receive_count > self.source.max_receives:
                detail = f"it was handed out {delivery.receive_count} times and never finished"
                raise Permanent(detail, reason="received_too_often")
            outcomes = await self._read(delivery)
        finally:
            self._read_to_its_end()
        if len(outcomes) == 1:  # as nearly always
            return outcomes[0] if isinstance(outcomes[0], asyncio.Future) else None
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        commits = [asyncio.shield(outcome) for outcome in outcomes if isinstance(outcome, asyncio.Future)]
        failures += [end for end in await asyncio.gather(*commits, return_exceptions=True) if end is not None]
        if failures:  # all others are durable now; while one may yet succeed, the message must come again
            raise min(failures, key=_patience)
        return None

    async def _read(self, delivery: Delivery) -> list[Commit | BaseException | None]:
        """Read what a message names, or holds: for each object its commit, its failure, or None where there is
        nothing to do. Raises the failure of an only one."""
        if self._holds_events(delivery):
            data = payload(delivery.body)
            if isinstance(data, bytes):
                return [await self._objects.read_message(delivery, data)]
            occurrences.notice_ignored(self.source.name, data.reason, data.key)
            return []
        notice = notices.parse(delivery.body, delivery.attributes)
        if isinstance(notice, Unknown):
            occurrences.message_unknown(self.source.name, delivery.message_id, notice.detail)
            raise Permanent(notice.detail, reason="unknown_message")
        reads: list[Awaitable[Commit | None]] = [self._objects.read(ref) for ref in notice.objects]
        for ignored in notice.ignored:
            if ignored.reason == "cloudtrail_digest" and self._shared.verify_digest is not None:
                reads.append(self._shared.verify_digest(ignored.key))
            else:
                occurrences.notice_ignored(self.source.name, ignored.reason, ignored.key)
        if len(reads) == 1:  # worth no further tasks
            return [await reads[0]]
        return await asyncio.gather(*reads, return_exceptions=True)

    def _holds_events(self, delivery: Delivery) -> bool:
        """Whether the message is log events itself."""
        if self._config.payload == "auto":
            return not notices.is_notification(delivery.attributes)
        return self._config.payload == "message"

    # --- around the path ------------------------------------------------------------------------------------

    def _start(self, delivery: Delivery, failed: Commit | None = None) -> None:
        task = asyncio.create_task(self._deliver_or_fail(delivery, failed))
        if failed is None:
            self._reading.add(task)
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._reading.discard(task)  # cancelled before it began
        self._room.set()

    async def _deliver_or_fail(self, delivery: Delivery, failed: Commit | None) -> None:
        """Deliver it; or see to what follows from `failed`, the commit of what it named."""
        try:
            commit = await (self._deliver(delivery) if failed is None else failed)
        except asyncio.CancelledError:
            await self._holding.give_back(delivery, 0.0, "drain")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the message must neither vanish nor stop others
            await self._failed(delivery, error)
        else:
            if commit is None:
                self._holding.finish(delivery)
            else:
                self._waiting[id(delivery)] = delivery
                commit.add_done_callback(partial(self._settled, delivery))

    def _settled(self, delivery: Delivery, commit: Commit) -> None:
        """What the message named is in the lake, or has to be read again."""
        if self._waiting.pop(id(delivery), None) is None:
            return  # it was given back
        if commit.cancelled() or commit.exception() is not None:
            self._start(delivery, commit)
        else:
            self._holding.finish(delivery)
            self._room.set()

    @property
    def _unfinished(self) -> bool:
        """Whether anything of a message is still to be done, but for its acknowledgement."""
        return bool(self._deliveries or self._waiting)

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        """Decide by the error's class: reject, count an attempt, or just try again later."""
        try:
            if isinstance(error, Permanent):
                await self._quarantine(delivery, error.reason, str(error))
            elif isinstance(error, Retryable) and not isinstance(error, AttemptFailed):
                delay = error.retry_after or _back_off(delivery.receive_count)
                await self._holding.give_back(delivery, delay, str(error))
            else:
                await self._attempt_failed(delivery, error)
        except Retryable as again:
            delay = again.retry_after or _back_off(delivery.receive_count)
            await self._holding.give_back(delivery, delay, str(again))
        except Exception as mistake:  # noqa: BLE001 - as in _deliver_or_fail
            occurrences.internal_error("receive", mistake, source=self.source.name, message=delivery.message_id)
            await self._holding.give_back(delivery, _back_off(delivery.receive_count), "internal_error")

    async def _attempt_failed(self, delivery: Delivery, error: Exception) -> None:
        reason = error.reason if isinstance(error, AttemptFailed) else "internal_error"
        attempts = await self._shared.ledger.message_failed(self.source.name, delivery.message_id, reason)
        if isinstance(error, AttemptFailed):
            occurrences.object_failed(self.source.name, delivery.message_id, "open", error, attempts=attempts)
        else:
            occurrences.internal_error("open", error, source=self.source.name, message=delivery.message_id)
        if attempts >= self._config.max_attempts:
            await self._quarantine(delivery, reason, str(error))
        else:
            await self._holding.give_back(delivery, _back_off(attempts), reason)

    async def _quarantine(self, delivery: Delivery, reason: str, detail: str) -> None:
        """A row in `rejects`, committed once; then the message is set aside or acknowledged."""
        identity = identity_of(delivery)
        claim = await self._shared.ledger.claim(identity, source=self.source.name, url=identity)
        if claim.status == "busy":
            raise Retryable(f"{identity}: another daemon is setting it aside", retry_after=BUSY_SECS)
        if claim.status == "granted":
            try:
                reject, done = rejects.of_message(delivery, identity, reason, detail, claim.skip)
                await self._shared.writer.add(reject, [])
                in_lake = self._shared.writer.finish(identity, done)
                self._shared.writer.request_commit("reject")
                await in_lake
            except BaseException:
                await self._shared.writer.leave(identity)
                await self._shared.ledger.release(identity)
                raise
        if reason in FINISHED_REASONS or (reason == "unknown_message" and self._config.on_unknown == "ack"):
            self._holding.finish(delivery)
        else:
            await self._holding.dead_letter(delivery, reason, detail)

    def _read_to_its_end(self) -> None:
        """The delivery at hand is not reading any more: another may."""
        if (task := asyncio.current_task()) is not None:
            self._reading.discard(task)
        self._room.set()

    def _room_for_messages(self) -> int:
        reading = len(self._reading) + (LARGE_COUNTS_AS - 1) * self._objects.large
        return min(self._reading_limit - reading, self._config.max_held - len(self._holding))

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop, rather than ending by itself."""
        return self._stopping.is_set()

    @property
    def held(self) -> int:
        """Messages received and not yet finished."""
        return len(self._holding)

    @property
    def reading(self) -> int:
        """Messages whose objects are being read."""
        return len(self._reading)

    def facts(self) -> dict[str, int]:
        """For `/status`."""
        return {"held": self.held, "reading": self.reading}

    # --- stopping -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Receive nothing more."""
        self._stopping.set()
        self.source.stop()
        self._room.set()

    async def drain(self, read_until: float, commit_until: float) -> int:
        """Once `run` has ended: read on until `read_until`, commit and acknowledge until `commit_until` (both
        monotonic), give the rest back; how many messages that were."""
        while self._reading and (left := read_until - time.monotonic()) > 0:
            self._room.clear()
            await _within(left, self._room)
        given_back = await self._break_off(self._reading)
        self._shared.writer.request_commit("drain")
        while self._unfinished and (left := commit_until - time.monotonic()) > 0:
            self._room.clear()
            await _within(left, self._room)
        given_back += await self._give_up_waiting() + await self._break_off(self._deliveries)
        await self._break_off(self._beside)
        await self._holding.acknowledge_finished(timeout_secs=max(1.0, commit_until - time.monotonic()))
        return given_back

    async def _break_off(self, tasks: Iterable[asyncio.Task[None]]) -> int:
        """Cancel the tasks; how many there were. A delivery that is cancelled gives its message back."""
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    async def _give_up_waiting(self) -> int:
        """Give back what is not committed in time; how many messages."""
        left = list(self._waiting.values())
        self._waiting.clear()
        await asyncio.gather(*(self._holding.give_back(delivery, 0.0, "drain") for delivery in left))
        return len(left)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _patience(failure: BaseException) -> int:
    """Of several failures, which one decides: to be cancelled, to try again, to count an attempt, to give up."""
    if isinstance(failure, asyncio.CancelledError):
        return 0
    if isinstance(failure, AttemptFailed):
        return 2
    if isinstance(failure, Retryable):
        return 1
    if isinstance(failure, Permanent):
        return 5 if failure.reason in FINISHED_REASONS else 4
    return 3


def _back_off(attempts: int) -> float:
    """Seconds until the next attempt: 2, 4, 8 … up to five minutes."""
    return min(2.0 ** min(max(1, attempts), 32), LONGEST_BACK_OFF_SECS)
