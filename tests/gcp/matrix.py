"""Every form of message under every condition, on every kind of subscription: what became of each.

python -m tests.gcp.matrix      runs it and prints the tables (`make matrix`)
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from tests.aws.proxy import Fault as ProxyFault
from tests.aws.proxy import Seen, in_front_of
from tests.gcp import pubsub, storage
from tests.gcp.cells import EVENTS, MESSAGES, NOTIFICATIONS, OBJECTS, Cell, Condition
from tests.gcp.pubsub import Fault
from tests.gcp.servers import Gcp
from tests.gcp.site import Site
from tests.proofs import checker

KINDS: dict[str, dict[str, Any]] = {
    "at least once": {},
    "exactly once": {"is_exactly_once": True},
    "in order": {"is_ordered": True},
    "in order, exactly once": {"is_ordered": True, "is_exactly_once": True},
    "with dead letters": {"max_delivery_attempts": 100},
}
"""Kinds of subscriptions."""
TABLES: tuple[tuple[dict[str, Any], dict[str, Condition]], ...] = ((NOTIFICATIONS, OBJECTS), (EVENTS, MESSAGES))
MAX_ATTEMPTS = 2
CELL = re.compile(r"cell-\d+-\d+-\d+(?=/|%2F)")


class Mishaps:
    """What goes wrong with the lease or the acknowledgement of a cell's messages, each at its first call."""

    def __init__(self, gcp: Gcp, subscription: str, cells: list[Cell]) -> None:
        self._broker = gcp.pubsub.broker
        self._held = self._broker.subscriptions[subscription].messages
        self.left = {
            message: cell.condition.delivery
            for cell in cells
            for message in cell.messages
            if cell.condition.delivery not in {"", "once"}
        }
        """Message → what is still to go wrong with it."""

    def rule(self, method: str, request: Any) -> Fault | None:
        """What the call meets."""
        if method == "ModifyAckDeadline":
            self._take_back(request.ack_ids, "handed out twice")
        if method == "Acknowledge":
            self._take_back(request.ack_ids, "lease lost")
            if self._first(request.ack_ids, "answer lost"):
                return Fault(grpc.StatusCode.UNAVAILABLE, after=True)
            if self._first(request.ack_ids, "refused once"):
                return Fault(grpc.StatusCode.INTERNAL)
        return None

    def _take_back(self, ack_ids: list[str], mishap: str) -> None:
        """Whoever asks next has the message, though somebody works on it."""
        with self._broker.changed:
            for message in self._first(ack_ids, mishap):
                self._held[message].until = 0.0

    def _first(self, ack_ids: list[str], mishap: str) -> list[str]:
        messages = [ack_id.partition(":")[0] for ack_id in ack_ids]
        found = [message for message in messages if self.left.get(message) == mishap]
        for message in found:
            del self.left[message]
        return found


@dataclass
class Outcome:
    """What became of the cells on one kind of subscription."""

    kind: str
    cells: list[Cell]
    events: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasons: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    set_aside: Counter[str] = field(default_factory=Counter)
    left: int = 0
    """Messages that were not acknowledged."""
    not_met: int = 0
    """Messages with which nothing went wrong though it should have."""
    row_ids: Counter[str] = field(default_factory=Counter)

    def cell(self, cell: Cell) -> str:
        """What the table says."""
        said = [f"{self.events[cell.name].total()} ev"] if self.events[cell.name] else []
        said += sorted(self.reasons[cell.name])
        return (" + ".join(said) or "skipped") + (" → dead" if self.set_aside[cell.name] else "")

    def is_right(self, cell: Cell) -> bool:
        """Whether it came out as it must."""
        wanted, events = cell.condition, self.events[cell.name]
        return (
            len(events) == wanted.events
            and set(events.values()) <= {wanted.copies}
            and tuple(self.reasons[cell.name]) == wanted.reasons_of.get(cell.form, wanted.reasons)
            and self.set_aside[cell.name] == len(cell.messages) * wanted.set_aside
        )

    def wrong(self) -> list[str]:
        """Cells that did not come out as they must, and what was lost or is left over."""
        found = [
            f"{self.kind}: {cell.form}, {cell.name}: {self.cell(cell)} {dict(self.events[cell.name])}"
            for cell in self.cells
            if not self.is_right(cell)
        ]
        found += [f"{self.kind}: {count} rows {row_id}" for row_id, count in self.row_ids.items() if count > 1]
        found += [f"{self.kind}: {self.left} messages are left"] if self.left else []
        return found + ([f"{self.kind}: {self.not_met} mishaps did not happen"] if self.not_met else [])

    def tables(self) -> str:
        """One line per condition, one column per form."""
        cells = iter(self.cells)
        return "\n\n".join(self._table(forms, conditions, cells) for forms, conditions in TABLES)

    def _table(self, forms: Any, conditions: dict[str, Condition], cells: Iterator[Cell]) -> str:
        columns = [[next(cells) for _ in conditions] for _ in forms]
        rows = [[self.kind, *forms]]
        for at, name in enumerate(conditions):
            rows.append([name, *(self.cell(column[at]) for column in columns)])
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def _cells(gcp: Gcp, subscription: str) -> list[Cell]:
    bucket = gcp.bucket()
    return [
        Cell(gcp, subscription, bucket, f"cell-{table}-{row}-{column}", form, condition)
        for table, (forms, conditions) in enumerate(TABLES)
        for row, form in enumerate(forms)
        for column, condition in enumerate(conditions.values())
    ]


def _refusals(cells: list[Cell]) -> Any:
    conditions = {cell.name: cell.condition for cell in cells}
    seen_before: set[str] = set()

    def rule(seen: Seen) -> ProxyFault | None:
        found = CELL.search(seen.path)
        if found is None:
            return None
        condition = conditions[found[0]]
        if condition.delivery == "once" and found[0] in seen_before:
            return None
        seen_before.add(found[0])
        return condition.refusal

    return rule


async def run(gcp: Gcp, kind: str, folder: Path) -> Outcome:
    """All cells in one subscription of this kind, worked by one daemon."""
    dead_letter_topic = gcp.topic()
    dead = gcp.subscription(dead_letter_topic)
    subscription = gcp.subscription(dead_letter_topic=dead_letter_topic, **KINDS[kind])
    cells = _cells(gcp, subscription)
    for cell in cells:
        cell.condition.act(cell)
    async with in_front_of(gcp.storage.url) as proxy:
        proxy.rule = _refusals(cells)
        mishaps = Mishaps(gcp, subscription, cells)
        gcp.pubsub.rule = mishaps.rule
        site = Site(folder, gcp, subscription, dead_letter_topic, storage=proxy.url, max_attempts=MAX_ATTEMPTS)
        await asyncio.to_thread(site.drain_until_all_gone, 3)
    outcome = _outcome(gcp, kind, cells, site, dead)
    outcome.not_met = len(mishaps.left)
    return outcome


def _outcome(gcp: Gcp, kind: str, cells: list[Cell], site: Site, dead: str) -> Outcome:
    outcome = Outcome(kind, cells, left=len(gcp.left(site.subscription)))
    by_message = {message: cell.name for cell in cells for message in cell.messages}
    for row in checker.parquet_rows(site.lake, "events", ["insertId", "p_row_id"]):
        outcome.events[str(row[0]).partition("/")[0]][str(row[0])] += 1
        outcome.row_ids[str(row[1])] += 1
    for row in checker.parquet_rows(site.lake, "rejects", ["reason", "p_source_file", "p_row_id"]):
        origin = json.loads(str(row[1]))
        name = by_message.get(origin.get("message_id", "")) or origin["gcs_object"].partition("/")[0]
        outcome.reasons[name].append(str(row[0]))
        outcome.row_ids[str(row[2])] += 1
    for held in gcp.left(dead):
        outcome.set_aside[by_message[held.message.attributes["ingestd_message_id"]]] += 1
    return outcome


def main() -> int:
    """Run on every kind of subscription; 1 when a cell is wrong."""
    wrong: list[str] = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, pubsub.running() as messages, storage.running() as objects:
            outcome = asyncio.run(run(Gcp(messages, objects), kind, Path(folder, "site")))
        print(outcome.tables(), end="\n\n", flush=True)
        wrong += outcome.wrong()
    print("\n".join(wrong) or "every cell is as it must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
