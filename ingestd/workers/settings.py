"""What the parent decides about its workers, and what a zygote is told to load. Plain data on both sides."""

from __future__ import annotations

import os
from typing import Any

import msgspec

MIB = 1 << 20


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, and what each of them may use."""

    workers: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    memory_bytes: int = 256 * MIB
    """Address space that a child may take beyond its size after start. With the code that it shares with its zygote
    (100 to 200 MiB) a child stays under 512 MiB."""
    rule_seconds: float = 1.0
    """CPU time of one detection on one event."""
    rule_wall_seconds: float = 5.0
    """Time of one detection on one event, for one that sleeps or waits. Waiting for ingestd itself is not counted."""
    chunk_seconds: float = 10.0
    """CPU time, and time asleep inside a detection, that a child may use without coming any further. It ends what
    the limit of the detection cannot: a call into C that never returns."""
    load_seconds: float = 120.0
    """Time to load schemas and detections."""
    objects_per_worker: int = 256
    """Objects that a child may have open at once. Small ones share a batch only if that many of them are there."""
    in_flight_bytes: int = 64 * MIB
    """Stored bytes that were read and not yet worked on, over all children."""
    flush_rows: int = 4096
    flush_bytes: int = 4 * MIB
    """Rows or estimated bytes at which a child returns what it has."""
    flush_seconds: float = 0.5
    """Age at which a child returns what it has although more is coming."""
    linger_seconds: float = 0.01
    """How long a child without input waits for more before it returns a few rows: small objects share batches."""
    suspend_kills: int = 3
    suspend_timeouts: int = 20
    suspend_window_seconds: float = 600.0
    """A detection that killed so many children, or timed out so often within the window, is suspended."""
    environment: tuple[str, ...] = ()
    """Names of environment variables that the children may see, beside the few that Python itself needs."""


class ChildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the settings that crosses into the zygote."""

    memory_bytes: int
    rule_seconds: float
    rule_wall_seconds: float
    flush_rows: int
    flush_bytes: int
    flush_seconds: float
    linger_seconds: float

    @classmethod
    def of(cls, settings: PoolSettings) -> ChildSettings:
        """The same values."""
        return cls(**{name: getattr(settings, name) for name in cls.__struct_fields__})


class CodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a zygote loads: one generation of code. Plain data, no secret."""

    factory: str = "ingestd.workers.stages:build"
    """`module:function` that makes the `Stages` from this spec."""
    schema_paths: tuple[str, ...] = ()
    builtin_schemas: bool = True
    candidates: tuple[tuple[str, ...], ...] = ()
    """The sets of log types that routes name: made ready before the children are forked, and checked."""
    detections: dict[str, Any] = {}
    """Fields of `detections.Options`."""
    limits: dict[str, Any] = {}
    """Fields of `decode.Limits`."""
    table_folders: tuple[str, ...] = ()
    """Where the data of lookup tables is looked for that their items do not name."""
    table_bytes: int = 1 << 30
    """How much all tables together may take."""
    keep_unknown: bool | None = None
    """Whether fields that no schema declares stay in the event; None leaves it to the schema."""
    reject_payload_bytes: int = 65_536
    """How much of a rejected record is kept."""
