"""What a child needs of the rooms that it runs: the shapes, so that it can be tried with others in their place.

What each method does is written where it is implemented.
"""
# ruff: noqa: D102 - see above

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from ingestd.decode.block import Block
from ingestd.detections.timetable import Timetable
from ingestd.model import Drift, LoadedDetection, Match, ObjectTask, ResourceCheck, TableBatch

Event = dict[str, Any]
"""A normalised event with its `p_` fields."""

Payload = bytes
Ask = Callable[[str, Any], Any]
"""`(name, body) -> answer`: a detection's request to the parent; plain data both ways."""


class Decoder(Protocol):
    """`decode.ObjectDecoder`."""

    @property
    def plain_bytes(self) -> int: ...
    @property
    def compression(self) -> str: ...
    @property
    def framing(self) -> str: ...
    @property
    def tail_open(self) -> bool: ...
    @property
    def records(self) -> int: ...
    @property
    def failure(self) -> str | None: ...
    def feed(self, data: bytes) -> Iterator[Block]: ...
    def finish(self) -> Iterator[Block]: ...


class Refusal(Protocol):
    """`schemas.Rejected`: a record that fits no schema."""

    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def log_type(self) -> str: ...


class Filtered(msgspec.Struct, frozen=True):
    """A record or an event that its route does not want."""

    log_type: str = ""
    """Empty where it was not looked at."""


Read = Event | Sequence[Event | Refusal | Filtered] | Refusal | Filtered | None
"""What a record turned out to be."""


class Session(Protocol):
    """`schemas.Session`: reads the records of one object."""

    def prime(self, data: Any) -> None: ...
    def read(self, data: bytes, ordinal: int, header: Event | None = None) -> Read: ...


class Watch(Protocol):
    """`detections.Watch`: shows the evaluation under way."""

    running: str | None
    serial: int
    before_call: Callable[[str], None] | None


class Engine(Protocol):
    """`detections.Engine`."""

    @property
    def has_policies(self) -> bool: ...
    @property
    def suspended(self) -> set[str]: ...
    def take_timeouts(self) -> dict[str, int]: ...
    def evaluate(self, event: Event, log_type: str, skip: frozenset[str] = ...) -> list[Match]: ...
    def judge(self, event: Event, skip: frozenset[str] = ...) -> list[Match]: ...
    def check(self, event: Event, skip: frozenset[str] = ...) -> tuple[list[Match], ResourceCheck]: ...


class Builder(Protocol):
    """`lake.BatchBuilder`."""

    rows: int
    bytes: int
    misfits: dict[str, int]

    def add_event(self, event: Event, size: int = ...) -> None: ...
    def add_match(self, index: int, match: Match, event: Event) -> None: ...
    def add_reject(
        self,
        *,
        source: str,
        origin: dict[str, str],
        identity: str,
        ordinal: int,
        row_id: str,
        reason: str,
        detail: str,
        log_type: str,
        offset: int | None,
        payload: Payload,
        parse_time: str,
    ) -> None: ...
    def take(self) -> tuple[TableBatch, ...]: ...


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of code, loaded: how the bytes of a task become rows and matches. Made once in the zygote."""

    decoder: Callable[[ObjectTask], Decoder]
    session: Callable[[ObjectTask], Session]
    engine: Engine
    watch: Watch
    builder: Callable[[], Builder]
    rules_of: Callable[[str], Iterable[str]]
    """Log type, or name of a scheduled query → ids of its detections."""
    failed: Callable[[str, Event, str, str], Match]
    """`(rule, event, error class, detail)` → the error of a detection that could not be evaluated on an event."""
    enrich: Callable[[Event], None] | None = None
    take_drift: Callable[[], Iterable[Drift]] = tuple
    """Where records were not as their schema says, since the last call."""
    connect: Callable[[Ask | None], None] = lambda _ask: None
    """Has the detections' requests for state and secrets answered by the function given."""
    reject_payload_bytes: int = 65_536
    description: dict[str, str | int | float] = {}
    """For the parent's log: how many detections and log types, the version."""
    detections: tuple[LoadedDetection, ...] = ()
    """All that are known, enabled or not."""
    timetable: Timetable = Timetable()
    """What runs by the clock."""
