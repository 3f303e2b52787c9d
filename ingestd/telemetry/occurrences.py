"""Everything that can happen, one function each: it writes the log line and moves the counters.

Code elsewhere neither logs nor counts by itself, so that the two cannot drift apart. Levels by meaning: error is
loss or an operator is needed, warning is something that ingestd recovers from, info is start, stop, reload and at
most one line per object, debug the rest. Never per record, and never the content of a record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from ingestd.errors import ConfigError, Overloaded, Permanent, Problem, Retryable, Superseded
from ingestd.model import ChunkResult, Delivery, ObjectDone, Severity
from ingestd.telemetry import catalogue as metrics
from ingestd.telemetry import drift as drifts
from ingestd.telemetry import logs
from ingestd.telemetry.catalogue import ErrorType, RestartReason, ScheduledWork, Stage

_log = structlog.stdlib.get_logger("ingestd")

_MAX_TEXT = 500


def error_type(error: BaseException) -> ErrorType:
    """The closed set's word for an exception, by what follows from it."""
    for kind, word in _ERROR_TYPES:
        if isinstance(error, kind):
            return word
    return "internal"


_ERROR_TYPES: tuple[tuple[type[BaseException], ErrorType], ...] = (
    (Superseded, "superseded"),
    (Permanent, "permanent"),
    (Overloaded, "overloaded"),
    (Retryable, "retryable"),
    (ConfigError, "config"),
    (TimeoutError, "timeout"),
)


def _text(error: BaseException | str) -> str:
    """An exception as one bounded line for a log."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def _failed(stage: Stage, error: BaseException | str, kind: ErrorType | None = None) -> dict[str, str]:
    """Count an error and give the fields that its log line carries."""
    word = kind or (error_type(error) if isinstance(error, BaseException) else "internal")
    metrics.ERRORS.labels(stage=stage, error_type=word).inc()
    return {"stage": stage, "error_type": word, "error": _text(error)}


# --- anywhere -----------------------------------------------------------------------------------------------


def retrying(stage: Stage, error: BaseException, *, in_secs: float, **where: Any) -> None:
    """Something failed for now and is tried again."""
    _log.warning("failed for now, trying again", **_failed(stage, error), in_secs=round(in_secs, 3), **where)


def internal_error(stage: Stage, error: BaseException, **where: Any) -> None:
    """A mistake of ours: an exception that nobody expected. The line carries the traceback."""
    _log.error("unexpected error", **_failed(stage, error, "internal"), exc_info=error, **where)


# --- messages -----------------------------------------------------------------------------------------------


def messages_received(source: str, deliveries: Iterable[Delivery]) -> None:
    """A source handed out messages."""
    now = time.time()
    lag, count = metrics.QUEUE_LAG.labels(source=source), 0
    for delivery in deliveries:
        count += 1
        if delivery.sent_at is not None and delivery.receive_count <= 1:
            lag.observe(max(0.0, now - delivery.sent_at))
    if count:
        metrics.MESSAGES.labels(source=source, outcome="received").inc(count)
        metrics.MESSAGES_IN_FLIGHT.labels(source=source).inc(count)
        metrics.LAST_RECEIVED.labels(source=source).set(now)


def receive_failed(source: str, error: BaseException, *, in_secs: float) -> None:
    """A source could not be asked for messages; it is asked again."""
    _log.warning("cannot receive", source=source, **_failed("receive", error), in_secs=round(in_secs, 3))


def folder_not_watched(source: str, reason: str) -> None:
    """The kernel does not tell of a folder's changes (any more); it is walked through now and then instead."""
    _log.warning("folder is walked instead of watched", source=source, **_failed("receive", reason, "retryable"))


def messages_acked(source: str, count: int) -> None:
    """Messages are finished for good."""
    metrics.MESSAGES.labels(source=source, outcome="acked").inc(count)
    metrics.MESSAGES_IN_FLIGHT.labels(source=source).dec(count)


def ack_failed(source: str, count: int, error: BaseException) -> None:
    """Messages could not be acknowledged; the call is repeated, their content is safe."""
    _log.warning("cannot acknowledge", source=source, messages=count, **_failed("ack", error))


def messages_returned(source: str, count: int, reason: str) -> None:
    """Messages were given back, to be received again."""
    metrics.MESSAGES.labels(source=source, outcome="returned").inc(count)
    metrics.MESSAGES_IN_FLIGHT.labels(source=source).dec(count)
    _log.info("messages returned", source=source, messages=count, reason=reason)


def messages_lost(source: str, count: int) -> None:
    """Leases ran out or went to another consumer; the messages will be received again."""
    metrics.MESSAGES.labels(source=source, outcome="lost").inc(count)
    metrics.MESSAGES_IN_FLIGHT.labels(source=source).dec(count)
    _log.warning("leases lost", source=source, messages=count)


def message_dead_lettered(source: str, message_id: str, reason: str, detail: str) -> None:
    """A message was set aside for an operator."""
    metrics.MESSAGES.labels(source=source, outcome="dead_lettered").inc()
    metrics.MESSAGES_IN_FLIGHT.labels(source=source).dec()
    fields = _failed("notice", detail, "permanent")
    _log.error("message dead-lettered", source=source, message=message_id, reason=reason, **fields)


def leases_extended(source: str, extended: int, lost: int) -> None:
    """Messages are held for longer; those lost are told by `messages_lost`."""
    metrics.LEASE_EXTENSIONS.labels(source=source, outcome="extended").inc(extended)
    metrics.LEASE_EXTENSIONS.labels(source=source, outcome="lost").inc(lost)


def extension_failed(source: str, count: int, error: BaseException) -> None:
    """Leases could not be extended this time."""
    metrics.LEASE_EXTENSIONS.labels(source=source, outcome="failed").inc(count)
    _log.warning("cannot extend leases", source=source, messages=count, **_failed("receive", error))


def message_unknown(source: str, message_id: str, detail: str) -> None:
    """No parser understood a message; it is in the table `rejects`."""
    metrics.MESSAGES_UNKNOWN.labels(source=source).inc()
    fields = _failed("notice", detail, "permanent")
    _log.error("message not understood", source=source, message=message_id, **fields)


def notice_ignored(source: str, reason: str, key: str = "") -> None:
    """Part of a message asks for nothing (a test event, a delete, a folder)."""
    metrics.NOTICES_IGNORED.labels(source=source, reason=reason).inc()
    _log.debug("notice ignored", source=source, reason=reason, key=key)


# --- objects ------------------------------------------------------------------------------------------------


@metrics.kept
class _Objects:
    """The series that every object of a source moves."""

    def __init__(self, source: str) -> None:
        self.compressed = metrics.OBJECT_BYTES.labels(source=source, form="compressed")
        self.plain = metrics.OBJECT_BYTES.labels(source=source, form="plain")
        self.duration = metrics.OBJECT_DURATION.labels(source=source)
        self.committed = metrics.OBJECTS.labels(source=source, outcome="committed")


def object_known(source: str, url: str) -> None:
    """An object was committed before: nothing to do."""
    metrics.OBJECTS.labels(source=source, outcome="known").inc()
    _log.debug("object already committed", source=source, object=url)


def object_waiting(source: str, url: str) -> None:
    """An object is in another's hands; its message waits for that one's commit."""
    metrics.OBJECTS.labels(source=source, outcome="waiting").inc()
    _log.debug("object is being read by another", source=source, object=url)


def fast_reader_not_used(bucket: str, reason: str) -> None:
    """A bucket is left to the SDK, which costs more for each object."""
    _log.info("bucket is read by the SDK", bucket=bucket, reason=reason)


def object_superseded(source: str, url: str) -> None:
    """An object was overwritten before it was read; what lies there now is read under its own identity."""
    metrics.OBJECTS.labels(source=source, outcome="superseded").inc()
    fields = _failed("open", "overwritten before it was read", "superseded")
    _log.warning("object superseded", source=source, object=url, **fields)


def object_read(source: str, url: str, done: ObjectDone, *, compressed_bytes: int, seconds: float) -> None:
    """A worker came to the end of an object."""
    objects = _Objects(source)
    objects.compressed.inc(compressed_bytes)
    objects.plain.inc(done.plain_bytes)
    objects.duration.observe(seconds)
    if done.failure is None and not logs.wanted(logging.DEBUG, "object read"):
        return
    fields: dict[str, Any] = {"records": done.records, "plain_bytes": done.plain_bytes, "seconds": round(seconds, 3)}
    if done.failure is None:
        _log.debug("object read", source=source, object=url, **fields)
        return
    metrics.OBJECTS.labels(source=source, outcome="rejected").inc()
    fields |= _failed("decode", done.failure, "permanent")
    _log.warning("object damaged, its good part was kept", source=source, object=url, **fields)


def object_committed(source: str, url: str, records: int) -> None:
    """Every record of an object is durable."""
    _Objects(source).committed.inc()
    if logs.wanted(logging.INFO, "object committed", source=source, object=url, records=records):
        _log.info("object committed", source=source, object=url, records=records)


def object_failed(source: str, url: str, stage: Stage, error: BaseException, *, attempts: int) -> None:
    """An attempt to read an object failed by the object's own fault."""
    metrics.OBJECTS.labels(source=source, outcome="failed").inc()
    _log.warning("object failed", source=source, object=url, attempts=attempts, **_failed(stage, error))


# --- records and detections ---------------------------------------------------------------------------------


def chunk_returned(result: ChunkResult) -> None:
    """A worker returned a run of records; counts what the children counted."""
    for count in result.counts:
        records = count.records
        labels = {"source": count.source, "log_type": count.log_type, "outcome": count.outcome}
        metrics.RECORDS.labels(**labels).inc(records)
        if count.outcome in {"unclassified", "invalid", "filtered"}:
            intended = "true" if count.outcome == "filtered" else "false"
            metrics.DISCARDED.labels(reason=count.outcome, intentional=intended).inc(records)
    for drift in result.drift:
        metrics.SCHEMA_DRIFT.labels(log_type=drift.log_type, kind=drift.kind).inc(drift.records)
        if drifts.SEEN.note(drift):
            _log.info("schema drift", kind=drift.kind, log_type=drift.log_type, path=drift.path)
    for match in result.matches:
        by_kind = metrics.DETECTION_ERRORS if match.kind == "error" else metrics.DETECTION_MATCHES
        by_kind.labels(rule=match.detection_id).inc()
    for rule, timeouts in result.rule_timeouts.items():
        metrics.DETECTION_TIMEOUTS.labels(rule=rule).inc(timeouts)
    metrics.WORKER_BUSY.inc(max(0.0, result.cpu_seconds))
    for stage, seconds in result.stage_seconds.items():
        metrics.WORKER_STAGE.labels(stage=stage).inc(max(0.0, seconds))
    _event_times(result.last_event_time)


def _event_times(newest: Mapping[str, float]) -> None:
    now = time.time()
    for log_type, seconds in newest.items():
        metrics.EVENT_DELAY.labels(log_type=log_type).observe(max(0.0, now - seconds))
        metrics.LAST_EVENT.labels(log_type=log_type).set(seconds)


def detection_suspended(rule: str, reason: str) -> None:
    """A detection killed or stalled workers too often; it does not run until the next reload."""
    metrics.DETECTIONS_SUSPENDED.labels(rule=rule).inc()
    metrics.DETECTIONS.labels(state="suspended").inc()
    _log.error("detection suspended until reload", rule=rule, **_failed("detect", reason, "permanent"))


def table_fetched(table: str, url: str, size: int) -> None:
    """A lookup table's data was published anew, and lies in the folder of tables now."""
    _log.info("lookup table fetched", table=table, url=url, bytes=size)


def table_not_fetched(table: str, url: str, error: BaseException) -> None:
    """A lookup table's data could not be fetched; the one that was fetched last stays in use."""
    _log.error("lookup table not fetched", table=table, url=url, **_failed("refresh", error))


def tables_not_refreshed(error: BaseException) -> None:
    """Files of lookup tables changed, and the workers could not load them; they go on with the old ones."""
    _log.error("lookup tables not refreshed", **_failed("refresh", error))


def rule_secret_refused(rule: str, name: str, reason: str, detail: str) -> None:
    """A detection asked for a secret that could not be read for it; it may have got the one that was read before."""
    metrics.RULE_SECRETS_REFUSED.labels(reason=reason).inc()
    fields = _failed("detect", detail, "retryable" if reason == "unavailable" else "permanent")
    _log.warning("secret of a detection not read", rule=rule, name=name, reason=reason, **fields)


# --- digests ------------------------------------------------------------------------------------------------


def digest_verified(source: str, url: str, *, findings: int, first: str | None) -> None:
    """A digest file of CloudTrail was compared with what it names; `first` is the first finding."""
    metrics.DIGESTS.labels(source=source, outcome="differs" if findings else "agrees").inc()
    if findings:
        fields = _failed("read", first or "", "permanent")
        _log.error("log files differ from their digest", source=source, url=url, findings=findings, **fields)
    else:
        _log.info("digest verified", source=source, url=url)


# --- backfill -----------------------------------------------------------------------------------------------


def backfill_resumed(source: str, position: str) -> None:
    """A backfill goes on where an earlier one was broken off."""
    _log.info("backfill resumed", source=source, after=position)


def backfill_progress(source: str, **facts: Any) -> None:
    """How far a backfill is, now and then."""
    _log.info("backfill", source=source, **facts)


# --- workers ------------------------------------------------------------------------------------------------


def worker_replaced(reason: RestartReason, *, pid: int, rule: str | None = None, detail: str = "") -> None:
    """A worker died or was stuck; another takes its place and its work is done again."""
    metrics.WORKER_RESTARTS.labels(reason=reason).inc()
    if reason == "reload":
        _log.debug("worker replaced", reason=reason, pid=pid)
        return
    fields = _failed("worker", detail or reason, "retryable")
    _log.warning("worker replaced", reason=reason, pid=pid, rule=rule, **fields)


def object_placed(waited_secs: float) -> None:
    """A worker is there for an object."""
    metrics.CHUNK_QUEUE.observe(waited_secs)


def worker_started(pid: int) -> None:
    """A worker is ready."""
    _log.debug("worker ready", pid=pid)


def code_loaded(description: Mapping[str, str | int | float]) -> None:
    """The workers' code is loaded and warm; the description says how many detections and log types, and how fast."""
    metrics.DETECTIONS.labels(state="loaded").set(float(description.get("detections", 0)))
    metrics.DETECTIONS.labels(state="suspended").set(0)
    _log.info("detections and schemas loaded", **description)


# --- alerts -------------------------------------------------------------------------------------------------


def alert_raised(alert_id: str, detection: str, kind: str, severity: Severity, title: str) -> None:
    """Matches of a window reached the threshold."""
    metrics.ALERTS_RAISED.labels(kind=kind, severity=severity).inc()
    fields = {"detection": detection, "kind": kind, "severity": severity, "title": _text(title)}
    _log.info("alert", alert=alert_id, **fields)


def alerts_suppressed(detection: str, count: int = 1) -> None:
    """A detection is over its hourly limit of alerts; matches are still rows of the lake."""
    metrics.ALERTS_SUPPRESSED.labels(rule=detection).inc(count)
    _log.warning("alerts suppressed by the hourly limit", detection=detection, stage="alert", error_type="overloaded")


def alert_sent(alert_id: str, destination: str, *, waited_secs: float) -> None:
    """A destination took an alert."""
    metrics.ALERTS.labels(destination=destination, outcome="sent").inc()
    metrics.ALERT_DELIVERY.labels(destination=destination).observe(max(0.0, waited_secs))
    _log.debug("alert sent", alert=alert_id, destination=destination)


def alert_retried(alert_id: str, destination: str, error: BaseException, *, in_secs: float) -> None:
    """A destination did not take an alert now; it is sent again."""
    metrics.ALERTS.labels(destination=destination, outcome="retried").inc()
    fields = _failed("deliver", error)
    _log.warning(
        "alert not delivered yet", alert=alert_id, destination=destination, in_secs=round(in_secs, 3), **fields
    )


def alert_failed(alert_id: str, destination: str, error: BaseException | str) -> None:
    """A destination refused an alert for good, or for too long."""
    metrics.ALERTS.labels(destination=destination, outcome="failed").inc()
    _log.error("alert not delivered", alert=alert_id, destination=destination, **_failed("deliver", error))


def alert_undeliverable(alert_id: str, destination: str) -> None:
    """A detection names a destination that the configuration does not have; default routing took its place."""
    metrics.ALERTS.labels(destination="(unknown)", outcome="undeliverable").inc()
    fields = _failed("deliver", f"no destination is named {destination!r}", "config")
    _log.warning("alert names an unknown destination", alert=alert_id, **fields)


# --- lake ---------------------------------------------------------------------------------------------------


def batch_committed(batch: str, rows: int, *, seconds: float, reason: str) -> None:
    """A batch is durable: the commit point is behind it."""
    metrics.LAKE_COMMITS.labels(outcome="committed").inc()
    metrics.LAKE_COMMIT_DURATION.observe(seconds)
    metrics.LAKE_LAST_COMMIT.set_to_current_time()
    _log.info("batch committed", batch=batch, rows=rows, seconds=round(seconds, 3), reason=reason)


def file_published(table: str, rows: int, size: int) -> None:
    """A file of the lake came into view."""
    metrics.LAKE_FILES.labels(table=table).inc()
    metrics.LAKE_ROWS.labels(table=table).inc(rows)
    metrics.LAKE_BYTES.labels(table=table).inc(size)


def batch_failed(batch: str, error: BaseException, *, in_secs: float) -> None:
    """A batch could not be written now; nothing is lost, receiving waits."""
    metrics.LAKE_COMMITS.labels(outcome="failed").inc()
    _log.error("batch not written yet", batch=batch, **_failed("commit", error), in_secs=round(in_secs, 3))


def batch_aborted(batch: str, reason: str) -> None:
    """A batch lost against another daemon, or was left by one that died; its objects are read again."""
    metrics.LAKE_COMMITS.labels(outcome="aborted").inc()
    _log.warning("batch aborted", batch=batch, **_failed("commit", reason, "retryable"))


def batch_split(batch: str, error: BaseException) -> None:
    """A batch cannot be written as it is; it is split to find the chunk at fault."""
    metrics.LAKE_COMMITS.labels(outcome="split").inc()
    _log.warning("batch split to find what cannot be written", batch=batch, **_failed("commit", error))


# --- daemon -------------------------------------------------------------------------------------------------


def daemon_started(**fields: Any) -> None:
    """Everything is up."""
    metrics.RELOAD_OK.set(1)
    metrics.RELOAD_TIME.set_to_current_time()
    _log.info("started", **fields)


def daemon_stopping(reason: str, *, deadline_secs: float) -> None:
    """Receiving has ended; what was begun is finished."""
    _log.info("stopping", reason=reason, deadline_secs=deadline_secs)


def daemon_stopped(**fields: Any) -> None:
    """The last line."""
    _log.info("stopped", **fields)


def drain_incomplete(messages: int, *, deadline_secs: float) -> None:
    """The deadline of the drain passed; what was not committed is given back and read again."""
    fields = _failed("daemon", f"{messages} messages were not finished in {deadline_secs:g} s", "timeout")
    _log.warning("drain ended at its deadline", **fields)


def reload_applied(**fields: Any) -> None:
    """A new configuration is in force."""
    metrics.RELOADS.labels(outcome="applied").inc()
    metrics.RELOAD_OK.set(1)
    metrics.RELOAD_TIME.set_to_current_time()
    _log.info("configuration reloaded", **fields)


def reload_refused(problems: Iterable[Problem | str]) -> None:
    """A new configuration is wrong; the old one stays in force."""
    metrics.RELOADS.labels(outcome="refused").inc()
    metrics.RELOAD_OK.set(0)
    for problem in problems:
        _log.error("reload refused, the old configuration stays", **_failed("config", str(problem), "config"))


def turn_finished(
    work: ScheduledWork,
    name: str,
    *,
    found: bool,
    error: Permanent | None,
    seconds: float,
    late_secs: float,
) -> None:
    """A scheduled query or a correlation rule had its turn; what it found, or its error, is on its way to the
    rules."""
    outcome = "failed" if error is not None else "found" if found else "nothing"
    metrics.SCHEDULED_TURNS.labels(kind=work, outcome=outcome).inc()
    metrics.SCHEDULED_DURATION.labels(kind=work).observe(seconds)
    metrics.SCHEDULED_LAG.labels(kind=work).set(max(0.0, late_secs))
    if error is not None:
        _log.error("scheduled work failed", kind=work, name=name, **_failed("schedule", error))
    else:
        _log.debug("scheduled work done", kind=work, name=name, outcome=outcome, seconds=round(seconds, 3))


def stalled(seconds: float, *, stack: str) -> None:
    """Nothing moves although work is in hand; the line carries the stack of every task and thread."""
    fields = _failed("daemon", f"nothing moved for {seconds:.0f} s although work is in hand", "timeout")
    _log.error("stalled", **fields, stack=stack)


def supervisor_unreachable(error: BaseException) -> None:
    """systemd's socket does not take what it is told; it may believe that the daemon hangs."""
    _log.warning("cannot tell the supervisor", **_failed("daemon", error, "retryable"))


def token_unreadable(error: BaseException) -> None:
    """The admin port's token is not where the configuration says; requests that need it are refused."""
    _log.error("the admin port's token cannot be read", **_failed("http", error))


def component_state(kind: str, name: str, state: str, error: str = "") -> None:
    """A source, destination or other part changed its state."""
    healthy = state in {"ok", "starting", "stopping", "stopped"}
    metrics.COMPONENT_HEALTHY.labels(kind=kind, name=name).set(healthy)
    log = _log.info if healthy else _log.warning if state == "recoverable_error" else _log.error
    optional = {"name": name, "error": _text(error) if error else ""}
    log("component state", kind=kind, state=state, **{field: text for field, text in optional.items() if text})
