"""Every envelope with every condition of a blob, in one daemon: nothing loops, nothing is lost, nothing is twice.

`make matrix` prints the table.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.azure.proxy import Cut, Fault, Refuse, Seen, in_front_of, operation
from tests.azure.servers import NAME, Azure, as_cloud_event, event, in_base64, plain
from tests.azure.site import Site
from tests.proofs import checker
from tests.proofs.hostile import record

Envelope = Callable[[dict[str, Any]], str]


def _envelopes() -> dict[str, Envelope]:
    """Each schema, one event or a list, in each encoding."""
    made: dict[str, Envelope] = {}
    for schema, convert in (("EventGrid", dict), ("CloudEvents", as_cloud_event)):
        for form in ("one", "list"):
            for encoding, encode in (("plain", plain), ("base64", in_base64)):

                def envelope(
                    found: dict[str, Any], form: str = form, convert: Any = convert, encode: Any = encode
                ) -> str:
                    document = convert(found)
                    return str(encode(json.dumps([document] if form == "list" else document)))

                made[f"{schema}, {form}, {encoding}"] = envelope
    return made


ENVELOPES = _envelopes()


@dataclass
class Condition:
    """A blob, how it is announced, and what becomes of it."""

    outcome: str
    """`read`; else the reason of a reject, with ` → poison` when the message is set aside; `ignored`."""
    name: str = "{cell}.json"
    data: dict[str, Any] = field(default_factory=dict)
    """Of the event."""
    kind: str = "BlobCreated"
    blob: str = "block"
    """`block`, `gzip`, `append`, or `none` when it is not there."""
    fault: Fault | None = None
    once: bool = True
    """Only the first request fails."""


CONDITIONS = {
    "block blob": Condition("read"),
    "packed": Condition("read", blob="gzip"),
    "append blob": Condition("read", blob="append", data={"blobType": "AppendBlob", "contentLength": 0}),
    "odd name": Condition("read", name="ü a+b=c%2B#?/{cell}.json"),
    "DFS address": Condition("read", data={"url": "https://logs.dfs.core.windows.net/{container}/{cell}.json"}),
    "renamed": Condition(
        "read",
        kind="BlobRenamed",
        data={"destinationUrl": "https://logs.blob.core.windows.net/{container}/{cell}.json"},
    ),
    "overwritten": Condition("read", data={"eTag": "0x8D000000000000"}),
    "busy once": Condition("read", fault=Refuse(503, "ServerBusy")),
    "body cut once": Condition("read", fault=Cut(after=10)),
    "error once": Condition("read", fault=Refuse(500, "InternalError")),
    "deleted": Condition("not_found", blob="none"),
    "role missing": Condition("forbidden → poison", fault=Refuse(403, "AuthorizationPermissionMismatch"), once=False),
    "key unusable": Condition(
        "key_unusable → poison", fault=Refuse(403, "KeyVaultEncryptionKeyNotFound"), once=False
    ),
    "archived": Condition("archived → poison", fault=Refuse(409, "BlobArchived"), once=False),
    "no container": Condition("no_container → poison", fault=Refuse(404, "ContainerNotFound"), once=False),
    "empty": Condition("ignored", data={"contentLength": 0}),
    "only created": Condition("ignored", data={"api": "CreateFile", "contentLength": 0}),
    "delete event": Condition("ignored", kind="BlobDeleted", blob="none"),
}


class Matrix:
    """The blobs and messages of all cells."""

    def __init__(self, azure: Azure) -> None:
        self.container, self.queue, self.poison = azure.container(), azure.queue(), azure.queue()
        self.cells = {
            f"cell-{row}-{column}": (envelope, condition)
            for row, envelope in enumerate(ENVELOPES)
            for column, condition in enumerate(CONDITIONS)
        }
        self._failed: set[str] = set()
        for cell, (envelope, condition) in self.cells.items():
            self._add(azure, cell, ENVELOPES[envelope], CONDITIONS[condition])

    def _add(self, azure: Azure, cell: str, envelope: Envelope, condition: Condition) -> None:
        line = json.dumps(record(cell)).encode() + b"\n"
        name = condition.name.format(cell=cell)
        if condition.blob == "append":
            azure.append(self.container, name, line)
        elif condition.blob != "none":
            azure.put(self.container, name, gzip.compress(line) if condition.blob == "gzip" else line)
        data = {
            key: value.format(container=self.container, cell=cell) if isinstance(value, str) else value
            for key, value in condition.data.items()
        }
        azure.send(self.queue, envelope(event(self.container, name, kind=condition.kind, **data)))

    def fault(self, seen: Seen) -> Fault | None:
        """What the request for a blob of a cell meets."""
        if operation(seen) not in {"read", "head"}:
            return None
        cell = seen.path.partition("?")[0].rpartition("/")[2].removesuffix(".json")
        condition = CONDITIONS[self.cells[cell][1]]
        if condition.once and cell in self._failed:
            return None
        self._failed.add(cell)
        return condition.fault

    def outcomes(self, azure: Azure, site: Site) -> dict[str, str]:
        """What became of each cell."""
        read = site.events()
        rejected = {}
        for payload, reason in checker.parquet_rows(site.lake, "rejects", ["payload", "reason"]):
            rejected[self._cell_in(str(payload))] = str(reason)
        letters = [json.loads(message.content) for message in _all_messages(azure, self.poison)]
        poisoned = Counter(self._cell_in(letter["body"]) for letter in letters)
        assert set(poisoned.values()) <= {1}
        found = {}
        for cell in self.cells:
            outcome = "read" if read[cell] == 1 else f"read {read[cell]} times" if read[cell] else ""
            outcome += rejected.get(cell, "") + (" → poison" if cell in poisoned else "")
            found[cell] = outcome or "ignored"
        return found

    def _cell_in(self, body: str) -> str:
        from ingestd.notices._body import decode

        text = json.dumps(decode(body))
        return next(cell for cell in self.cells if f"{cell}." in text)


def _all_messages(azure: Azure, queue: str) -> list[Any]:
    return list(azure.queues.get_queue_client(queue).receive_messages(messages_per_page=32, visibility_timeout=600))


def table(matrix: Matrix, outcomes: dict[str, str]) -> str:
    """One line per condition, one column per envelope."""
    width = max(map(len, CONDITIONS))
    legend = [f"{number}: {envelope}" for number, envelope in enumerate(ENVELOPES)]
    lines = []
    for column, (name, condition) in enumerate(CONDITIONS.items()):
        cells = [outcomes[f"cell-{row}-{column}"] for row in range(len(ENVELOPES))]
        shown = "".join("✓" if cell == condition.outcome else "✗" for cell in cells)
        lines.append(f"{name:<{width}}  {shown}  {', '.join(sorted(set(cells)))}")
    return "\n".join([*legend, *lines])


async def test_every_envelope_with_every_condition(azure: Azure, tmp_path: Path) -> None:
    """What can be read is read once; what cannot is told once, with its reason; and the queue is empty."""
    matrix = Matrix(azure)
    async with in_front_of(azure.blob_url.rpartition("/")[0]) as blobs:
        blobs.rule = matrix.fault
        site = Site(
            tmp_path / "site",
            azure,
            matrix.queue,
            matrix.poison,
            f"{blobs.url}/{NAME}",
            lease_secs=30,
            max_attempts=1,
        )
        await asyncio.to_thread(site.drain_until_all_gone, 3)
    outcomes = matrix.outcomes(azure, site)
    print(f"\n{table(matrix, outcomes)}")
    wanted = {cell: CONDITIONS[condition].outcome for cell, (_, condition) in matrix.cells.items()}
    assert outcomes == wanted
    assert len(outcomes) == len(ENVELOPES) * len(CONDITIONS)
