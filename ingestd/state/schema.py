"""The tables of the state, as a history of steps: forward only, each applied once.

Each subject names its own tables beside its SQL; a step lists what is created or altered together. A step that
has been released is never edited: a later change is a new step. The SQL is what SQLite and PostgreSQL share,
with SQLite's name `BLOB` for bytes.
"""

from __future__ import annotations

from ingestd.state import (
    batches,
    compliance,
    files,
    growing,
    history,
    instances,
    kv,
    listings,
    messages,
    objects,
    outbox,
    schedules,
    sightings,
    windows,
)

Step = tuple[str, ...]

STEPS: tuple[Step, ...] = (
    instances.TABLES + objects.TABLES + batches.TABLES + messages.TABLES + files.TABLES,  # 1: ledger and files
    windows.TABLES + outbox.TABLES + kv.TABLES,  # 2: alerts and rules' keys
    listings.TABLES,  # 3: how far backfills have come
    compliance.TABLES,  # 4: how resources stand with policies
    history.TABLES,  # 5: what was enabled, since when
    growing.TABLES,  # 6: objects that are still appended to
    sightings.TABLES + schedules.TABLES,  # 7: what correlation rules wait for, and what runs by the clock
)
