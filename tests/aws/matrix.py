"""Every envelope under every condition: what is put, what is sent, and what has to become of it.

python -m tests.aws.matrix      runs it against both servers and prints the tables (`make matrix`)
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from tests.aws.proxy import Fault, Refuse, Seen, in_front_of
from tests.aws.servers import CREDENTIALS, Aws, running
from tests.aws.site import Site
from tests.notices.envelopes import eventbridge_event, in_sns, s3_event, s3_record, security_lake_notice
from tests.proofs import checker
from tests.proofs.hostile import record

MAX_ATTEMPTS = 2
NAMES = ("a b+c.gz", "ü.gz", "%2B.gz", "100%.gz", "a//b.gz", "q=1&r='x'.gz", "日本語.gz", "~!()*.gz")


@dataclass(frozen=True)
class Put:
    """An object in a bucket, as a notice tells of it."""

    bucket: str
    key: str
    size: int | None
    etag: str


Compose = Callable[[list[Put]], list[str]]
"""The messages that tell of some objects: one where the form can hold several."""


def _s3(objects: list[Put]) -> list[str]:
    records = []
    for one in objects:
        entry = s3_record(quote_plus(one.key, safe="/"), size=one.size, eTag=one.etag)
        entry["s3"]["bucket"]["name"] = one.bucket
        records.append(entry)
    return [json.dumps(s3_event(*records))]


def _in_topic(objects: list[Put]) -> list[str]:
    return [json.dumps(in_sns(message)) for message in _s3(objects)]


def _packed(objects: list[Put]) -> list[str]:
    return [base64.b64encode(gzip.compress(message.encode())).decode() for message in _s3(objects)]


def _of_event(make: Callable[[str], dict[str, Any]], objects: list[Put]) -> list[str]:
    messages = []
    for one in objects:
        event = make(one.key)
        event["detail"]["bucket"]["name"] = one.bucket
        event["detail"]["object"] = {"key": one.key, "etag": one.etag} | (
            {} if one.size is None else {"size": one.size}
        )
        messages.append(json.dumps(event))
    return messages


def _of_trail(objects: list[Put]) -> list[str]:
    message = json.dumps({"s3Bucket": objects[0].bucket, "s3ObjectKey": [one.key for one in objects]})
    return [json.dumps(in_sns(message))]


COMPOSE: dict[str, Compose] = {
    "S3": _s3,
    "SNS": _in_topic,
    "SNS raw": _s3,
    "EventBridge": partial(_of_event, eventbridge_event),
    "Security Lake": partial(_of_event, security_lake_notice),
    "CloudTrail": _of_trail,
    "gzip base64": _packed,
}
WIRED: dict[str, Callable[[Aws, str, str], None]] = {
    "S3": Aws.notify_queue,
    "SNS": partial(Aws.notify_topic, raw=False),
    "SNS raw": partial(Aws.notify_topic, raw=True),
}
"""Envelopes that the servers make by themselves."""
MUST_BE_MADE = frozenset({"batch of 10", "reordered", "missing size"})
"""Conditions of which no server's own notices can be had."""
BY_PROXY = frozenset({"wrong region", "access denied"})

EXPECTED: dict[str, tuple[int, tuple[str, ...]]] = {
    "single": (1, ()),
    "batch of 10": (10, ()),
    "duplicate": (1, ()),
    "reordered": (1, ()),
    "odd keys": (len(NAMES), ()),
    "0 byte": (0, ()),
    "folder key": (0, ()),
    "missing size": (1, ()),
    "deleted object": (0, ("not_found",)),
    "wrong region": (0, ("wrong_region",)),
    "access denied": (0, ("forbidden",)),
    "bad gzip": (0, ("truncated",)),
}
"""Condition → events in the lake, each once, and reasons in the table of rejects."""


@dataclass(frozen=True)
class Refusal:
    """What S3 answers about an object, for how many requests, and what has to become of it."""

    fault: Refuse
    outcome: str
    """Reason in the table of rejects; `read` when it comes right."""
    says: str
    """Part of the reject's text: what to do."""
    requests: int = 10**6


KMS_DENIED = "User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:1:key/k"
REFUSALS: dict[str, Refusal] = {
    "403": Refusal(Refuse(403, "AccessDenied"), "forbidden", "the permission s3:GetObject is missing"),
    "403, readers pay": Refusal(Refuse(403, "AccessDenied"), "forbidden", "`requester_pays`"),
    "KMS denied": Refusal(Refuse(403, "AccessDenied", KMS_DENIED), "kms_forbidden", "the permission kms:Decrypt"),
    "KMS key disabled": Refusal(
        Refuse(400, "KMS.DisabledException", "k is disabled"), "kms_key_unusable", "k is dis"
    ),
    "archived": Refusal(Refuse(403, "InvalidObjectState"), "archived", "s3:RestoreObject"),
    "wrong region": Refusal(Refuse(301, "PermanentRedirect", region="eu-west-1"), "wrong_region", "set `region`"),
    "404": Refusal(Refuse(404, "NoSuchKey"), "not_found", "it was deleted"),
    "no bucket": Refusal(Refuse(404, "NoSuchBucket"), "no_bucket", "there is no such bucket"),
    "503, then well": Refusal(Refuse(503, "SlowDown"), "read", "", requests=5),
    "500, then well": Refusal(Refuse(500), "read", "", requests=5),
}


def trail(event_id: str) -> bytes:
    """A CloudTrail file."""
    return gzip.compress(json.dumps({"Records": [record(event_id)]}).encode())


@dataclass
class Cell:
    """One envelope under one condition: its objects are put, and told of."""

    aws: Aws
    queue: str
    bucket: str
    envelope: str
    condition: str
    wired: bool
    """The bucket tells of its objects itself."""

    @property
    def prefix(self) -> str:
        """Start of its keys; its events have ids that start so too."""
        return f"AWSLogs/{self.envelope}/{self.condition}/".replace(" ", "-")

    @property
    def how(self) -> str:
        """Mark of what the server did not do by itself."""
        return ("" if self.wired else "*") + ("!" if self.condition in BY_PROXY else "")

    def put(self, name: str, data: bytes) -> Put:
        """Write an object; how it is told of."""
        key = self.prefix + name
        etag = str(self.aws.put(self.bucket, key, data)["ETag"]).strip('"')
        return Put(self.bucket, key, len(data), etag)

    def tell(self, *objects: Put) -> None:
        """Send the messages, where the bucket does not."""
        if not self.wired:
            for message in COMPOSE[self.envelope](list(objects)):
                self.aws.send(self.queue, message)

    def set_up(self) -> None:
        """Put and tell as the condition says."""
        if self.condition == "batch of 10":
            self.tell(*(self.put(f"{number}.gz", trail(f"{self.prefix}{number}")) for number in range(10)))
        elif self.condition == "duplicate":
            for _ in range(2):
                self.tell(self.put("a.gz", trail(f"{self.prefix}a")))
        elif self.condition == "reordered":
            old, new = (self.put("a.gz", trail(f"{self.prefix}{text}")) for text in ("old", "new"))
            self.tell(new)
            self.tell(old)
        elif self.condition == "odd keys":
            for name in NAMES:
                self.tell(self.put(name, trail(self.prefix + name)))
        elif self.condition in ("0 byte", "folder key"):
            self.tell(self.put("a.gz" if self.condition == "0 byte" else "folder/", b""))
        else:
            self._one()

    def _one(self) -> None:
        data = trail(f"{self.prefix}a")
        one = self.put("a.gz", data[:-12] if self.condition == "bad gzip" else data)
        self.tell(Put(one.bucket, one.key, None, one.etag) if self.condition == "missing size" else one)
        if self.condition == "deleted object":
            self.aws.client("s3").delete_object(Bucket=self.bucket, Key=one.key)


def _cells(aws: Aws, queue: str) -> Iterator[Cell]:
    plain = aws.bucket()
    for envelope in COMPOSE:
        wired = aws.bucket() if envelope in WIRED else ""
        if wired:
            WIRED[envelope](aws, wired, queue)
        for condition in EXPECTED:
            by_itself = bool(wired) and condition not in MUST_BE_MADE
            yield Cell(aws, queue, wired if by_itself else plain, envelope, condition, by_itself)


def _refused_folder(name: str) -> str:
    return "AWSLogs/refused/" + name.replace(", ", "-").replace(" ", "-") + "/"


def _refuse_objects(aws: Aws, queue: str) -> None:
    """Put an object for each refusal, and tell of it."""
    bucket = aws.bucket()
    for name in REFUSALS:
        key = f"{_refused_folder(name)}a.gz"
        etag = str(aws.put(bucket, key, trail(key))["ETag"]).strip('"')
        for message in _s3([Put(bucket, key, None, etag)]):
            aws.send(queue, message)


def _refusals() -> Callable[[Seen], Fault | None]:
    left = {name: refusal.requests for name, refusal in REFUSALS.items()}

    def fault(seen: Seen) -> Fault | None:
        for name, refusal in REFUSALS.items():
            if seen.operation == "s3 GET" and _refused_folder(name) in seen.path and left[name]:
                left[name] -= 1
                return refusal.fault
        return _fault(seen)

    return fault


def _fault(seen: Seen) -> Fault | None:
    """What no server does: a bucket that lies elsewhere, an object that may not be read."""
    if seen.operation == "s3 GET" and "/wrong-region/" in seen.path:
        return Refuse(301, "PermanentRedirect", "use another endpoint", region="eu-west-1")
    if seen.operation == "s3 GET" and "/access-denied/" in seen.path:
        return Refuse(403, "AccessDenied", "Access Denied")
    return None


@dataclass
class Outcome:
    """What became of one server's cells."""

    server: str
    events: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    details: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    marks: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Refusal → what became of its object, and what was said."""
    left: tuple[int, int] = (0, 0)
    """Messages that wait, and that are held."""
    dead_letters: int = 0

    def cell(self, envelope: str, condition: str) -> str:
        """What the table says."""
        at = (envelope, condition)
        said = [f"{len(self.events[at])} ev"] if self.events[at] else []
        said += self.reasons[at]
        return (" + ".join(said) or "skipped") + self.marks[at]

    def wrong(self) -> list[str]:
        """Cells that did not come out as they must."""
        found = []
        for (envelope, condition), events in self.events.items():
            wanted, reasons = EXPECTED[condition]
            got = self.reasons[envelope, condition]
            fits = len(got) == len(reasons) and all(map(str.startswith, got, reasons))
            if events.total() != len(events) or len(events) != wanted or not fits:
                found.append(f"{self.server}: {envelope}, {condition}: {dict(events)} {got}")
        for name, refusal in REFUSALS.items():
            outcome, said = self.refused.get(name, ("lost", ""))
            if outcome != refusal.outcome or refusal.says not in said:
                found.append(f"{self.server}: {name}: {outcome}: {said}")
        return found

    def table(self) -> str:
        """All cells, conditions downwards."""
        rows = [["", *COMPOSE]]
        rows += [[condition, *(self.cell(envelope, condition) for envelope in COMPOSE)] for condition in EXPECTED]
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        ended = f"left in the queue: {self.left}, dead letters: {self.dead_letters}"
        legend = "* message made by the test, ! refusal injected by the proxy"
        refused = [f"{name:<18} {outcome:<17} {said[:110]}" for name, (outcome, said) in self.refused.items()]
        return "\n".join([f"{self.server}", *lines, "", "refused by S3!", *refused, "", ended, legend])


async def run(aws: Aws, folder: Path) -> Outcome:
    """All cells in one queue, worked by one daemon."""
    queue, dead_letters = aws.queue(), aws.queue()
    cells = list(_cells(aws, queue))
    for cell in cells:
        cell.set_up()
    _refuse_objects(aws, queue)
    async with in_front_of(aws.url) as proxy:
        proxy.rule = _refusals()
        site = Site(folder, aws, queue, dead_letters, endpoint=proxy.url, max_attempts=MAX_ATTEMPTS)
        await asyncio.to_thread(site.drain_until_all_gone, 3)
    outcome = Outcome(aws.name, left=aws.messages(queue), dead_letters=aws.messages(dead_letters)[0])
    events = site.events()
    rejects = checker.parquet_rows(site.lake, "rejects", ["reason", "detail", "p_source_file", "payload"])
    for cell in cells:
        at = (cell.envelope, cell.condition)
        outcome.marks[at] = cell.how
        outcome.events[at] = Counter({name: n for name, n in events.items() if name.startswith(cell.prefix)})
        own = [row for row in rejects if cell.prefix in f"{row[1]} {row[2]} {row[3]}"]
        outcome.reasons[at] = [str(row[0]) for row in own]
        outcome.details[at] = [str(row[1]) for row in own]
    for name in REFUSALS:
        prefix = _refused_folder(name)
        own = [row for row in rejects if prefix in f"{row[1]}"]
        read = events[f"{prefix}a.gz"] == 1 and not own
        said = re.sub(r"s3://[^:]+: ", "", str(own[0][1])) if own else ""
        outcome.refused[name] = ("read", "") if read else (" + ".join(str(row[0]) for row in own) or "lost", said)
    return outcome


def main() -> int:
    """Run against both servers; 1 when a cell is wrong."""
    os.environ.update(CREDENTIALS)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ministack", "moto"):
            with running(name, Path(folder)) as aws:
                outcome = asyncio.run(run(aws, Path(folder, "site", name)))
                print(outcome.table(), end="\n\n")
                wrong += outcome.wrong()
    print("\n".join(wrong) or "every cell is as it must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
