"""The nouns of the design. Frozen and picklable; this module imports nothing of ours.

They are msgspec structs: slotted, cheap to make, and encodable to MessagePack, which is how the ones that
cross the process boundary travel. Times are seconds since the epoch (float) unless a name says otherwise;
sizes are bytes; ordinals count the framed records of an object from 0; ranges are half-open `(first, end)`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NewType

import msgspec

Identity = NewType("Identity", str)
"""What an object *is*, from the read response: `file:<path>#<content hash>`, `s3://<bucket>/<key>#<etag>`,
`message:<subscription>/<id>`. The key of everything the ledger knows."""

Range = tuple[int, int]
"""Half-open range of ordinals."""

Severity = Literal["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
SEVERITIES: tuple[Severity, ...] = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")


# --- where data comes from ------------------------------------------------------------------------------


class Framing(msgspec.Struct, frozen=True, kw_only=True):
    """How an object is cut into records: a row of `decode.framing`'s table and its options."""

    name: str = "auto"
    envelope: str | None = None
    """Dotted path to the array that holds the records, e.g. `Records` or `logEvents[].message`."""
    options: dict[str, Any] = {}


class RawFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of records before they are parsed: one that holds any of the texts or patterns meets it."""

    keeps: bool
    """Whether it is those that stay, or the others."""
    contains: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    """Regular expressions (RE2), searched for anywhere."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of normalised events: one that meets all conditions meets it."""

    keeps: bool
    """Whether it is those that stay, or the others."""
    log_types: tuple[str, ...] = ()
    """Empty: of every log type."""
    conditions: tuple[dict[str, Any], ...] = ()
    """In the language of InlineFilters."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What is not wanted. A record must pass every one of them."""

    raw: tuple[RawFilter, ...] = ()
    events: tuple[EventFilter, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which log types may be in an object, and how it is framed."""

    prefix: str = ""
    """Plain string prefix of the object's key; the longest that matches wins, ties go to the later one."""
    exclude: tuple[str, ...] = ()
    """Patterns with `*` (which crosses `/`) of keys to leave alone."""
    log_types: tuple[str, ...] = ()
    """Candidates; empty means every known log type."""
    resource_types: tuple[str, ...] = ()
    """Set when the records are resource snapshots for policies."""
    results: bool = False
    """Set when the records are results of scheduled queries and correlation rules. Never by a configuration."""
    framing: Framing = Framing()
    filters: Filters = Filters()
    keep_unknown: bool | None = None
    """Whether fields that no schema declares stay in the event; None leaves it to the schema."""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of an object before it grew: if the new content starts with it, reading goes on after it."""

    identity: str
    size: int
    """Stored bytes that were read."""
    records: int | None = None
    """Ordinals of these bytes, where reading may go on right behind them: all committed, and stored as plain text
    that ended with a whole record."""


class ObjectRef(msgspec.Struct, frozen=True, kw_only=True):
    """One object to read."""

    store: str
    """Name of the store, which is also its URL scheme: `file`, `memory`, `s3`, `az`, `gs`."""
    bucket: str
    """Bucket, container, or for files the root folder."""
    key: str
    version: str | None = None
    """Addresses the read only; never part of the identity."""
    etag: str | None = None
    """If known, the read is pinned to it."""
    size: int | None = None
    growth: Growth | None = None

    @property
    def url(self) -> str:
        """`s3://bucket/key`, for people and logs."""
        return f"{self.store}://{self.bucket}/{self.key}"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One queue message held under a lease."""

    source: str
    message_id: str
    body: bytes
    attributes: dict[str, str] = {}
    receipt: str = ""
    """What the source needs to extend, acknowledge or give back; opaque to everyone else."""
    received_at: float = 0.0
    sent_at: float | None = None
    """When the producer put it into the queue, for lag."""
    lease_until: float = 0.0
    receive_count: int = 1


# --- the process boundary -------------------------------------------------------------------------------


class ObjectTask(msgspec.Struct, frozen=True, kw_only=True):
    """All that a child needs to know about one object before its bytes arrive."""

    task: int
    """Unique within the daemon's life."""
    identity: str
    source: str
    """Name of the source: `p_source_id`."""
    label: str = ""
    """`p_source_label`; the source's name when empty."""
    origin: dict[str, str] = {}
    """`p_source_file`: e.g. `{"aws_s3_bucket": …, "aws_s3_key": …}` or `{"path": …}`."""
    route: Route
    skip: tuple[Range, ...] = ()
    """Ordinals already committed or already returned: counted, not processed. Sorted, disjoint."""
    skip_records: tuple[int, ...] = ()
    """Ordinals that killed a child with no rule to blame: each becomes a reject."""
    skip_calls: tuple[tuple[int, str], ...] = ()
    """(ordinal, rule id) that killed a child: each becomes an error of that rule."""
    first_ordinal: int = 0
    offset: int = 0
    """Where in the plain object the bytes given start; both are 0 unless a grown object is resumed."""
    modified: float | None = None
    """When the object was stored, in seconds since the epoch, where the store says."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Ordinals `[first, end)` of one object, all of whose rows are in the same ChunkResult."""

    task: int
    identity: str
    first: int
    end: int
    framing: str | None = None
    """The framing that counted them, so that a re-read counts alike when no more than this is committed."""
    tail_open: bool = False
    """The last of them may go on when the object grows."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A detection said yes for an event, or failed on it (`kind` is `error`)."""

    kind: Literal["rule", "policy", "error"]
    detection_id: str
    row_id: str
    log_type: str
    event_time: str
    """`p_event_time` as in the event."""
    dedup: str
    """Dedup string; for an error the exception's class name."""
    title: str
    severity: Severity
    description: str = ""
    reference: str = ""
    runbook: str = ""
    destinations: tuple[str, ...] | None = None
    """Names the detection asked for; None is default routing; `("SKIP",)` is nobody."""
    context: str = "{}"
    """alert_context as JSON text."""
    unique: str | None = None
    """Output of unique(), where the detection has one: the threshold then counts distinct values."""
    threshold: int = 1
    dedup_minutes: int = 60
    creates_alert: bool = True
    tags: tuple[str, ...] = ()
    reports: dict[str, list[str]] = {}
    version: str = ""
    """Content digest of the detection."""
    commit: str = ""
    """The commit that changed the detection's files last, where there is one."""
    author: str = ""
    """Of that commit."""
    error: str | None = None
    """Traceback as text, for errors."""
    resource: str | None = None
    """Resource id, for policies."""
    joins: dict[str, tuple[str, ...]] | None = None
    """Field → its values, of the fields by which correlation rules join this match with others; None when none waits
    for it."""


Verdict = Literal["pass", "fail", "error"]
"""What a policy says of a resource; `error`: it could not be asked."""


class ResourceCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What every policy of its type says of a resource."""

    resource_id: str
    resource_type: str
    row_id: str
    """Of the snapshot."""
    event_time: str
    """`p_event_time` of the snapshot: it says nothing about a resource of which a newer one was read."""
    verdicts: dict[str, Verdict]
    """By policy id."""


Table = Literal["events", "rule_matches", "rule_errors", "rejects"]


class TableBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one table, log type and event day, as an Arrow IPC stream of one record batch."""

    table: Table
    log_type: str
    """Empty for rejects that fit no log type."""
    day: str
    """`YYYY-MM-DD`, UTC."""
    rows: int
    ipc: memoryview
    """Of a result that crossed the process boundary: into its message, without a copy."""
    matches: tuple[int, ...] = ()
    """For rule_matches and rule_errors: row i belongs to `ChunkResult.matches[matches[i]]`; the parent adds
    the column `p_alert_id` from it."""


class RecordCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many records of a source and log type came out how."""

    source: str
    log_type: str
    outcome: Literal["ok", "unclassified", "invalid", "filtered", "skipped"]
    records: int


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Where records of a log type are not as its schema says. Their rows are kept."""

    log_type: str
    kind: Literal["unknown_field", "unexpected_value", "unfit_value"]
    """A field that the schema does not have; a value that it does not expect; one that did not fit its column."""
    path: str
    """Dotted, `[]` in the place of indexes. Empty where only the number is known."""
    records: int


class ChunkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a child returns for a run of records, perhaps of several small objects. Atomic: all its rows join
    one batch, and all its matches enter the alert state in one transaction."""

    spans: tuple[Span, ...]
    tables: tuple[TableBatch, ...] = ()
    matches: tuple[Match, ...] = ()
    resources: tuple[ResourceCheck, ...] = ()
    """Of snapshots of resources, in the order in which they were read."""
    counts: tuple[RecordCount, ...] = ()
    drift: tuple[Drift, ...] = ()
    rule_timeouts: dict[str, int] = {}
    cpu_seconds: float = 0.0
    stage_seconds: dict[str, float] = {}
    last_event_time: dict[str, float] = {}
    """Newest event time per log type, seconds since the epoch, for the delay metrics."""


class ObjectDone(msgspec.Struct, frozen=True, kw_only=True):
    """The child has come to the end of an object, or cannot go on with it."""

    task: int
    records: int
    """Ordinals given out so far, i.e. the end of the last span."""
    plain_bytes: int
    stored_bytes: int = 0
    """Bytes as stored, in all; set by the parent, who read them."""
    framing: str
    """The framing that was used, so that a re-read counts alike."""
    compression: str = "none"
    tail_open: bool = False
    """The last record had no terminator: it may go on when the object grows."""
    failure: str | None = None
    """Why reading stopped early (bad gzip, expansion limit…); the good prefix was returned, and a reject
    that carries this reason took an ordinal."""


# --- what the lake commits ------------------------------------------------------------------------------


class ObjectRange(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Ordinals `[first, end)` of one object whose rows are in a batch."""

    identity: str
    first: int
    end: int
    framing: str | None = None
    """The framing that counted them."""
    tail_open: bool = False
    """The last of the object's ordinals in the batch may go on when the object grows."""


class FinishedObject(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An object that was read to its end: it is done once all of `[0, records)` is committed."""

    identity: str
    records: int
    """Ordinals in all, those of earlier reads included."""
    framing: str
    compression: str = "none"
    stored_bytes: int = 0
    """Stored bytes in all, those of earlier reads included: what a grown object has to start with."""
    tail_open: bool = False
    """The last record had no terminator."""


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One file of a batch: written to `staging`, then renamed to `final` once the batch is committed."""

    staging: str
    """Path relative to the lake."""
    final: str
    """Path relative to the lake."""
    table: Table
    rows: int


class BatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to finish a batch whose writer died: enters the ledger when the batch is prepared."""

    batch_id: str
    ranges: tuple[ObjectRange, ...] = ()
    """Disjoint."""
    finished: tuple[FinishedObject, ...] = ()
    files: tuple[PlannedFile, ...] = ()


# --- alerts ---------------------------------------------------------------------------------------------


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Matches of one detection and one dedup string within a window, past the threshold."""

    alert_id: str
    kind: Literal["rule", "policy", "error", "system"]
    detection_id: str
    dedup: str
    title: str
    severity: Severity
    description: str
    reference: str
    runbook: str
    context: str
    """alert_context of the first match, JSON text."""
    log_types: tuple[str, ...]
    tags: tuple[str, ...]
    reports: dict[str, list[str]]
    version: str
    created_at: float
    updated_at: float
    match_count: int
    first_event_time: str
    destinations: tuple[str, ...] | None = None
    commit: str = ""
    author: str = ""


class LoadedDetection(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers have loaded of one detection, or know of one that is not enabled."""

    id: str
    kind: str
    enabled: bool
    version: str
    """Content digest of its files and overrides."""
    commit: str = ""
    author: str = ""
    committed_at: float | None = None
    """Seconds since the epoch."""


# --- what doctor says -----------------------------------------------------------------------------------


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `ingestd doctor` tried: what, whether it worked, and what to do when not."""

    what: str
    ok: bool
    detail: str = ""
    missing_permission: str = ""


# --- schemas as the lake sees them ----------------------------------------------------------------------

ColumnKind = Literal[
    "string", "bigint", "int", "smallint", "float", "boolean", "timestamp", "json", "array", "object"
]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a log type's table. `array` has one child, named `element`; `object` has its fields."""

    name: str
    kind: ColumnKind
    children: tuple[Column, ...] = ()


# --- row ids --------------------------------------------------------------------------------------------


def row_id_prefix(identity: str) -> str:
    """First 20 hex digits of every `p_row_id` of this identity."""
    return hashlib.blake2b(identity.encode(), digest_size=10).hexdigest()


def row_id(prefix: str, ordinal: int, sub: int = 0) -> str:
    """`p_row_id`: 32 hex digits, from identity and ordinal; `sub` counts within an expanded record."""
    return f"{prefix}{ordinal:08x}{sub:04x}"
