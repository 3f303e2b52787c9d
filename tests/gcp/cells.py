"""What the matrix of Google Cloud is made of: forms of messages, and conditions with what has to become of each.

A cell is one form under one condition. Its name is in the names of its objects and in the ids of its events, and its
messages are known by their ids, so that everything that a daemon leaves behind can be laid to its cell.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from backports import zstd

from tests.aws.proxy import Cut, Refuse
from tests.gcp.servers import Gcp, told
from tests.gcp.storage import Stored
from tests.gcp.test_end_to_end import entry, lines

TEN = 10
NAMES = ("a b+c", "ü", "%2B", "100%", "a//b", "../up", "q=1&r='x'#", "日本語", "~!()*", "ends/")


@dataclass
class Cell:
    """One form under one condition, on its way into a subscription."""

    gcp: Gcp
    subscription: str
    bucket: str
    name: str
    form: str
    condition: Condition
    messages: list[str] = field(default_factory=list)
    """Ids of what was published."""

    def __post_init__(self) -> None:
        self.key = self.name if self.condition.is_ordered else ""

    def put(self, name: str = "a", data: bytes | None = None, *, encoding: str = "") -> Stored:
        """Write an object, which holds an event of its own name unless there are other data."""
        data = lines(f"{self.name}/{name}") if data is None else data
        return self.gcp.storage.put(self.bucket, f"{self.name}/{name}", data, encoding=encoding)

    def tell(self, stored: Stored, kind: str = "OBJECT_FINALIZE", **changed: str) -> None:
        """Publish what Cloud Storage tells of an object, in this cell's form."""
        attributes, data = NOTIFICATIONS[self.form](told(stored, kind) | changed, json.dumps(stored.resource()))
        self.publish(data.encode(), **attributes)

    def publish(self, data: bytes, **attributes: str) -> None:
        """Publish a message."""
        self.messages.append(self.gcp.send(self.subscription, data, key=self.key, **attributes))

    def log(self, *names: str) -> None:
        """Publish events of these names, in this cell's form."""
        attributes, pack = EVENTS[self.form]
        self.publish(pack([json.dumps(entry(f"{self.name}/{name}")) for name in names]), **attributes)


@dataclass(frozen=True)
class Condition:
    """What is written and published, what fails then, and what has to become of it."""

    act: Callable[[Cell], None]
    events: int = 1
    reasons: tuple[str, ...] = ()
    """In the table of rejects."""
    reasons_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Form → reasons, where they are others."""
    set_aside: bool = False
    """Whether the dead-letter topic has the message."""
    copies: int = 1
    """How often each event is in the lake: once, but for what was published twice as events."""
    refusal: Refuse | Cut | None = None
    """What Cloud Storage answers to requests for the cell's objects; once, where it comes right."""
    delivery: str = ""
    """What goes wrong with the lease or the acknowledgement: see `tests.gcp.matrix.Mishaps`."""
    is_ordered: bool = False


# --- notifications ------------------------------------------------------------------------------------------

Notification = Callable[[dict[str, str], str], tuple[dict[str, str], str]]
NOTIFICATIONS: dict[str, Notification] = {
    "JSON_API_V1": lambda attributes, data: (attributes, data),
    "NONE": lambda attributes, data: (attributes | {"payloadFormat": "NONE"}, ""),
    "attributes of one's own": lambda attributes, data: (
        attributes | {"team": "sec", "overwroteGeneration": "1"},
        data,
    ),
    "published again by Pub/Sub": lambda attributes, data: (
        attributes | {"CloudPubSubDeadLetterSourceDeliveryCount": "100"},
        data,
    ),
    "published again by ingestd": lambda attributes, data: (
        attributes | {"ingestd_reason": "forbidden", "ingestd_message_id": "1"},
        data,
    ),
}


def _object(name: str = "a", data: bytes | None = None, encoding: str = "") -> Callable[[Cell], None]:
    return lambda cell: cell.tell(cell.put(name, data, encoding=encoding))


def _packed(encoding: str = "") -> Callable[[Cell], None]:
    return lambda cell: cell.tell(cell.put("a", gzip.compress(lines(f"{cell.name}/a")), encoding=encoding))


def _cut(cell: Cell) -> None:
    """In the second of two records."""
    cell.tell(cell.put("a", gzip.compress(lines(f"{cell.name}/a", f"{cell.name}/b"), 0)[:-50]))


def _each(*names: str) -> Callable[[Cell], None]:
    def act(cell: Cell) -> None:
        for name in names:
            cell.tell(cell.put(name))

    return act


def _twice(cell: Cell) -> None:
    stored = cell.put()
    cell.tell(stored)
    cell.tell(stored)


def _overwritten(cell: Cell) -> None:
    """The newer one is told of first."""
    old = cell.put("a", lines(f"{cell.name}/old"))
    cell.tell(cell.put("a", lines(f"{cell.name}/new")))
    cell.tell(old)


def _versioned(cell: Cell) -> None:
    cell.gcp.storage.versioned = True
    _overwritten(cell)
    cell.gcp.storage.versioned = False


def _deleted(kind: str) -> Callable[[Cell], None]:
    def act(cell: Cell) -> None:
        stored = cell.put()
        cell.gcp.storage.delete(cell.bucket, stored.name)
        cell.tell(stored, kind)

    return act


def _told_as(kind: str) -> Callable[[Cell], None]:
    return lambda cell: cell.tell(cell.put(), kind)


def _changed(**attributes: str) -> Callable[[Cell], None]:
    return lambda cell: cell.tell(cell.put(), **attributes)


OBJECTS: dict[str, Condition] = {
    "single": Condition(_each("a")),
    "ten": Condition(_each(*map(str, range(TEN))), events=TEN),
    "ten of an ordering key": Condition(_each(*map(str, range(TEN))), events=TEN, is_ordered=True),
    "told of twice": Condition(_twice),
    "handed out twice": Condition(_each("a"), delivery="handed out twice"),
    "lease lost": Condition(_each("a"), delivery="lease lost"),
    "ack's answer lost": Condition(_each("a"), delivery="answer lost"),
    "ack refused once": Condition(_each("a"), delivery="refused once"),
    "odd names": Condition(_each(*NAMES), events=len(NAMES)),
    "packed": Condition(_packed()),
    "transcoded": Condition(_packed("gzip")),
    "transcoded, not packed": Condition(
        lambda cell: cell.tell(cell.put("a", lines(f"{cell.name}/a"), encoding="gzip"))
    ),
    "overwritten": Condition(_overwritten),
    "overwritten, kept": Condition(_versioned, events=2),
    "deleted": Condition(_deleted("OBJECT_FINALIZE"), 0, ("not_found",)),
    "event: deleted": Condition(_deleted("OBJECT_DELETE"), 0),
    "event: archived": Condition(_told_as("OBJECT_ARCHIVE"), 0),
    "event: metadata": Condition(_told_as("OBJECT_METADATA_UPDATE"), 0),
    "event: unheard of": Condition(_told_as("OBJECT_FROBNICATE"), 0),
    "0 byte": Condition(_object("a", b""), 0),
    "folder": Condition(_object("folder/", b""), 0),
    "bad gzip": Condition(_cut, 1, ("truncated",)),
    "busy once": Condition(_each("a"), refusal=Refuse(503), delivery="once"),
    "slow down once": Condition(_each("a"), refusal=Refuse(429), delivery="once"),
    "body cut once": Condition(_each("a"), refusal=Cut(10), delivery="once"),
    "error once": Condition(_each("a"), refusal=Refuse(500), delivery="once"),
    "403": Condition(_each("a"), 0, ("forbidden",), set_aside=True, refusal=Refuse(403)),
    "key unusable": Condition(
        _each("a"),
        0,
        ("key_unusable",),
        set_aside=True,
        refusal=Refuse(403, message="Permission denied on Cloud KMS key"),
    ),
    "readers pay": Condition(
        _each("a"),
        0,
        ("requester_pays",),
        set_aside=True,
        refusal=Refuse(400, message="Bucket is a requester pays bucket but no user project provided."),
    ),
    "418": Condition(_each("a"), 0, ("gcs_error",), set_aside=True, refusal=Refuse(418)),
    "no bucket": Condition(_changed(bucketId="no-such-bucket"), 0, ("no_bucket",), set_aside=True),
    "no bucket's name": Condition(_changed(bucketId="../x"), 0, ("unknown_message",), set_aside=True),
    "no generation": Condition(_changed(objectGeneration="1&alt=json"), 0, ("unknown_message",), set_aside=True),
}

# --- events themselves --------------------------------------------------------------------------------------

Pack = Callable[[list[str]], bytes]


def _lines(entries: list[str]) -> bytes:
    return "".join(f"{one}\n" for one in entries).encode()


EVENTS: dict[str, tuple[dict[str, str], Pack]] = {
    "lines": ({}, _lines),
    "a sink's": ({"logging.googleapis.com/timestamp": "2024-05-01T10:00:00Z"}, _lines),
    "a list": ({}, lambda entries: f"[{','.join(entries)}]".encode()),
    "gzip": ({}, lambda entries: gzip.compress(_lines(entries))),
    "zstd": ({}, lambda entries: zstd.compress(_lines(entries))),
    "base64": ({}, lambda entries: base64.b64encode(_lines(entries))),
    "base64 of gzip": ({}, lambda entries: base64.b64encode(gzip.compress(_lines(entries)))),
}


def _log(*names: str) -> Callable[[Cell], None]:
    return lambda cell: cell.log(*names)


def _one_by_one(cell: Cell) -> None:
    for number in range(TEN):
        cell.log(str(number))


def _published_twice(cell: Cell) -> None:
    cell.log("a")
    cell.log("a")


def _one_foreign(cell: Cell) -> None:
    attributes, pack = EVENTS[cell.form]
    cell.publish(pack([json.dumps(entry(f"{cell.name}/a")), json.dumps(PUSHED)]), **attributes)


def _half_of_the_second(cell: Cell) -> None:
    attributes, pack = EVENTS[cell.form]
    whole, cut = (json.dumps(entry(f"{cell.name}/{name}")) for name in "ab")
    cell.publish(pack([whole, cut[:-10]]), **attributes)


def _foreign(document: object) -> Callable[[Cell], None]:
    """A document that is nobody's log, in the cell's form."""

    def act(cell: Cell) -> None:
        attributes, pack = EVENTS[cell.form]
        cell.publish(pack([json.dumps(document)]), **attributes)

    return act


PUSHED = {
    "message": {"data": "eA==", "attributes": {}, "messageId": "1"},
    "subscription": "projects/p/subscriptions/s",
}
CLOUD_EVENT = {
    "specversion": "1.0",
    "type": "google.cloud.storage.object.v1.finalized",
    "source": "//storage.googleapis.com/projects/_/buckets/b",
    "subject": "objects/a",
    "id": "1",
    "data": {"bucket": "b", "name": "a", "generation": "1"},
}
MESSAGES: dict[str, Condition] = {
    "single": Condition(_log("a")),
    "ten in one": Condition(_log(*map(str, range(TEN))), events=TEN),
    "ten of an ordering key": Condition(_one_by_one, events=TEN, is_ordered=True),
    "published twice": Condition(_published_twice, copies=2),
    "handed out twice": Condition(_log("a"), delivery="handed out twice"),
    "lease lost": Condition(_log("a"), delivery="lease lost"),
    "ack's answer lost": Condition(_log("a"), delivery="answer lost"),
    "ack refused once": Condition(_log("a"), delivery="refused once"),
    "cut off": Condition(_half_of_the_second, 1, ("invalid_json",), {"a list": ("truncated",)}),
    "one foreign": Condition(_one_foreign, 1, ("invalid",)),
    "empty": Condition(lambda cell: cell.publish(b"", note="x"), 0),
    "a CloudEvent": Condition(_foreign(CLOUD_EVENT), 0, ("invalid",)),
    "as if pushed": Condition(_foreign(PUSHED), 0, ("invalid",)),
}
