"""Every metric of ingestd, one line each: name, labels with their closed sets, help.

A metric is used as `catalogue.MESSAGES.labels(source=…, outcome=…).inc()`; a name that is not declared here fails
the type check. Counting belongs to `ingestd.telemetry.occurrences`; only gauges are set where their value is known.
No label ever carries a bucket, key, account, user or message id: what is not closed comes from the configuration.

They live in a registry of their own and only in the daemon's process; children report numbers in their results.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from ingestd import __version__

MessageOutcome = Literal["received", "acked", "returned", "dead_lettered", "lost"]
ExtensionOutcome = Literal["extended", "lost", "failed"]
ObjectOutcome = Literal["committed", "known", "waiting", "failed", "rejected", "superseded"]
RecordOutcome = Literal["ok", "unclassified", "invalid", "filtered", "skipped"]
AlertOutcome = Literal["sent", "retried", "failed", "undeliverable"]
CommitOutcome = Literal["committed", "aborted", "failed", "split"]
RestartReason = Literal["died", "stuck", "memory", "zygote", "reload"]
Stage = Literal[
    "config",
    "receive",
    "notice",
    "claim",
    "open",
    "read",
    "decode",
    "normalise",
    "enrich",
    "detect",
    "alert",
    "commit",
    "publish",
    "ack",
    "deliver",
    "worker",
    "state",
    "refresh",
    "schedule",
    "http",
    "daemon",
]
ScheduledWork = Literal["query", "correlation"]
ErrorType = Literal["retryable", "overloaded", "permanent", "superseded", "config", "timeout", "internal"]

OPEN = None
"""In the place of a closed set: the label's values come from the configuration, the schemas or the detections."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter, which nobody asks for
REGISTRY = CollectorRegistry(auto_describe=True)

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)
T = TypeVar("T")
_KEPT: list[Callable[[], None]] = []

MOST_ZEROS = 32
"""A metric with more combinations of closed labels than this begins empty: most of them never come about."""

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
DELAYS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)


class Declared(NamedTuple):
    """A metric and what the documentation says about it."""

    name: str
    kind: str
    help: str
    labels: dict[str, tuple[str, ...] | None]
    """Label → its closed set, None where it is open."""
    metric: Counter | Gauge | Histogram


CATALOGUE: list[Declared] = []


def _declare(kind: str, metric: _Metric, name: str, text: str, labels: dict[str, Any]) -> _Metric:
    sets = {label: None if values is OPEN else get_args(values) for label, values in labels.items()}
    CATALOGUE.append(Declared(f"ingestd_{name}", kind, text, sets, metric))
    return metric


def _counter(name: str, text: str, /, **labels: Any) -> Counter:
    return _declare("counter", Counter(name, text, labels, "ingestd", registry=REGISTRY), name, text, labels)


def _gauge(name: str, text: str, /, **labels: Any) -> Gauge:
    return _declare("gauge", Gauge(name, text, labels, "ingestd", registry=REGISTRY), name, text, labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], /, **labels: Any) -> Histogram:
    metric = Histogram(name, text, labels, "ingestd", registry=REGISTRY, buckets=buckets)
    return _declare("histogram", metric, name, text, labels)


# fmt: off
# ruff: noqa: E501 - one line per metric
# --- messages
MESSAGES = _counter("messages_total", "Queue messages, by what happened to them.", source=OPEN, outcome=MessageOutcome)
MESSAGES_IN_FLIGHT = _gauge("messages_in_flight", "Messages received and not yet finished.", source=OPEN)
MESSAGES_UNKNOWN = _counter("messages_unknown_total", "Messages that no notice parser understood.", source=OPEN)
NOTICES_IGNORED = _counter("notices_ignored_total", "Parts of messages that ask for nothing: test events, deletes, folders.", source=OPEN, reason=OPEN)
LEASE_EXTENSIONS = _counter("lease_extensions_total", "Attempts to hold messages for longer, in messages.", source=OPEN, outcome=ExtensionOutcome)
QUEUE_LAG = _histogram("queue_lag_seconds", "Time from the producer's sending to the first receive.", DELAYS, source=OPEN)
QUEUE_DEPTH = _gauge("queue_depth", "Messages waiting at the provider, where it can say.", source=OPEN)
LAST_RECEIVED = _gauge("last_received_timestamp_seconds", "When the source last handed out a message.", source=OPEN)
# --- objects
OBJECTS = _counter("objects_total", "Objects, by what became of them.", source=OPEN, outcome=ObjectOutcome)
OBJECT_BYTES = _counter("object_bytes_total", "Bytes read, as stored and after decompression.", source=OPEN, form=Literal["compressed", "plain"])
OBJECT_DURATION = _histogram("object_seconds", "Time from opening an object to the end of its processing.", SECONDS, source=OPEN)
DIGESTS = _counter("cloudtrail_digests_total", "CloudTrail's digest files that were verified, by what came out.", source=OPEN, outcome=Literal["agrees", "differs"])
# --- records
RECORDS = _counter("records_total", "Records, by how they came out.", source=OPEN, log_type=OPEN, outcome=RecordOutcome)
DISCARDED = _counter("discarded_records_total", "Records that are not rows of their log type's table; all but the intended are in the table rejects.", reason=Literal["unclassified", "invalid", "filtered"], intentional=Literal["true", "false"])
SCHEMA_DRIFT = _counter("schema_drift_total", "Fields and values that are not as the schema says, in records; their rows are kept.", log_type=OPEN, kind=Literal["unknown_field", "unexpected_value", "unfit_value"])
EVENT_DELAY = _histogram("event_delay_seconds", "Age of the newest event of each returned chunk, by its event time.", DELAYS, log_type=OPEN)
LAST_EVENT = _gauge("last_event_timestamp_seconds", "Newest event time seen.", log_type=OPEN)
# --- detections
DETECTIONS = _gauge("detections", "Detections by state.", state=Literal["loaded", "suspended"])
DETECTION_MATCHES = _counter("detection_matches_total", "Events that a detection matched.", rule=OPEN)
DETECTION_ERRORS = _counter("detection_errors_total", "Events on which a detection failed.", rule=OPEN)
DETECTION_TIMEOUTS = _counter("detection_timeouts_total", "Events on which a detection used up its time.", rule=OPEN)
DETECTIONS_SUSPENDED = _counter("detection_suspensions_total", "Times that a detection was suspended for killing or stalling workers.", rule=OPEN)
RULE_SECRETS_REFUSED = _counter("rule_secrets_refused_total", "Secrets that a detection asked for and that could not be read for it.", reason=Literal["not_granted", "not_found", "unavailable"])
# --- work by the clock
SCHEDULED_TURNS = _counter("scheduled_turns_total", "Turns of scheduled queries and correlation rules, by what came out.", kind=ScheduledWork, outcome=Literal["found", "nothing", "failed"])
SCHEDULED_DURATION = _histogram("scheduled_turn_seconds", "Time that a turn took.", SECONDS, kind=ScheduledWork)
SCHEDULED_LAG = _gauge("scheduled_lag_seconds", "How late the last turn was finished, after it was due.", kind=ScheduledWork)
# --- alerts
ALERTS_RAISED = _counter("alerts_raised_total", "Alerts made.", kind=Literal["rule", "policy", "error", "system"], severity=Literal["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"])
ALERTS_SUPPRESSED = _counter("alerts_suppressed_total", "Alerts not made because the detection is over its hourly limit.", rule=OPEN)
ALERTS = _counter("alerts_total", "Attempts to deliver an alert, by outcome.", destination=OPEN, outcome=AlertOutcome)
ALERT_DELIVERY = _histogram("alert_delivery_seconds", "Time from an alert being due to its delivery.", SECONDS, destination=OPEN)
ALERTS_WAITING = _gauge("alerts_waiting", "Alerts due and not yet delivered.", destination=OPEN)
# --- lake
LAKE_COMMITS = _counter("lake_commits_total", "Batches, by outcome.", outcome=CommitOutcome)
LAKE_COMMIT_DURATION = _histogram("lake_commit_seconds", "Time from preparing a batch to its commit.", SECONDS)
LAKE_FILES = _counter("lake_files_total", "Files published.", table=Literal["events", "rule_matches", "rule_errors", "rejects"])
LAKE_ROWS = _counter("lake_rows_total", "Rows published.", table=Literal["events", "rule_matches", "rule_errors", "rejects"])
LAKE_BYTES = _counter("lake_bytes_total", "Bytes of published files.", table=Literal["events", "rule_matches", "rule_errors", "rejects"])
LAKE_BUFFER = _gauge("lake_buffer_bytes", "Bytes that wait for a commit.")
LAKE_LAST_COMMIT = _gauge("lake_last_commit_timestamp_seconds", "When a batch was last committed.")
# --- workers
WORKERS = _gauge("workers", "Worker processes.", state=Literal["busy", "idle", "starting"])
WORKER_BUSY = _counter("worker_busy_seconds_total", "CPU seconds used by the workers.")
WORKER_STAGE = _counter("worker_stage_seconds_total", "Seconds that the workers spent, by stage.", stage=OPEN)
WORKER_RESTARTS = _counter("worker_restarts_total", "Workers replaced.", reason=RestartReason)
CHUNK_QUEUE = _histogram("chunk_queue_seconds", "Time that an object waited for a worker.", SECONDS)
# --- the daemon
ERRORS = _counter("errors_total", "Things that went wrong, by where and by what follows.", stage=Stage, error_type=ErrorType)
LOOP_LAG = _histogram("loop_lag_seconds", "How late the event loop runs what is due.", FAST)
COMPONENT_HEALTHY = _gauge("component_healthy", "1 while a component works, 0 while it does not.", kind=OPEN, name=OPEN)
RELOADS = _counter("config_reloads_total", "Reloads, by outcome.", outcome=Literal["applied", "refused"])
RELOAD_OK = _gauge("config_last_reload_successful", "1 if the last load of the configuration was applied, 0 if it was refused.")
RELOAD_TIME = _gauge("config_last_reload_success_timestamp_seconds", "When a configuration was last applied.")
LOG_LINES_FOLDED = _counter("log_lines_folded_total", "Log lines left out because they repeat.")
BUILD_INFO = _gauge("build_info", "Always 1; the version is the label.", version=OPEN)
# fmt: on


def expect(**labels: str) -> None:
    """Begin counters and histograms whose open labels are these at zero, e.g. `expect(source="a")` for a new source.

    Prometheus sees no increase in a series that is born with the value one, and that first one is the dead letter
    that somebody should hear of. Gauges are left out: a zero would be a statement.
    """
    for declared in CATALOGUE:
        closed = {label: values for label, values in declared.labels.items() if values is not None}
        if declared.kind == "gauge" or not declared.labels or labels.keys() != declared.labels.keys() - closed.keys():
            continue
        combinations = list(itertools.product(*closed.values()))
        for values in combinations if len(combinations) <= MOST_ZEROS else ():
            declared.metric.labels(**labels, **dict(zip(closed, values, strict=True)))


expect()
BUILD_INFO.labels(version=__version__).set(1)
ProcessCollector(namespace="ingestd", registry=REGISTRY)
GCCollector(registry=REGISTRY)


def value(sample: str, /, **labels: str) -> float:
    """Current value of a sample, e.g. `value("ingestd_messages_total", source="a", outcome="acked")`; 0 if unseen."""
    return REGISTRY.get_sample_value(sample, labels) or 0.0


def kept(find: Callable[[str], T]) -> Callable[[str], T]:
    """Series that `find` looks up by their labels, kept until series are dropped: moving one costs less than finding
    it."""
    found = functools.cache(find)
    _KEPT.append(found.cache_clear)
    return found


def let_go() -> None:
    """Have all that is `kept` looked up anew."""
    for clear in _KEPT:
        clear()


def forget(**labels: str) -> None:
    """Drop the series that carry these label values, e.g. `forget(source="gone")` after a reload."""
    let_go()
    for declared in CATALOGUE:
        if labels.keys() <= declared.labels.keys():
            declared.metric.remove_by_labels(labels)


def total(metric: Counter | Gauge, /, **labels: str) -> float:
    """Sum of a metric's series, of those that carry these label values."""
    wanted = labels.items()
    samples = (sample for family in metric.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if wanted <= sample.labels.items())
