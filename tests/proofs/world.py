"""A seeded world of CloudTrail files, and what must come out of it.

`write` makes the files; `expected` works out, from the seed alone and without the product's code, which rows and
which alerts there must be in the end.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUIET_NAMES = ("DescribeInstances", "GetObject", "ListBuckets", "AssumeRole", "PutObject", "Decrypt")
LOUD_NAME = "StopLogging"
REPEATED_NAME = "ConsoleLogin"
REPEATED_THRESHOLD = 50
USERS = ("ada", "grace", "edsger", "barbara", "donald")


@dataclass(frozen=True)
class World:
    """How much there is: `files` ordinary ones and one large one that spans many batches."""

    seed: int
    files: int
    records_per_file: int
    large_file_records: int

    @property
    def records(self) -> int:
        """Records in all."""
        return self.files * self.records_per_file + self.large_file_records


@dataclass
class Expectation:
    """What must be found: every event id once, and matches per (rule, dedup string)."""

    event_ids: set[str] = field(default_factory=set)
    matches: Counter[tuple[str, str]] = field(default_factory=Counter)

    def alerts(self) -> dict[tuple[str, str], int]:
        """(rule, dedup) → exact count, for those past their threshold."""
        thresholds = {"World.Loud": 1, "World.Repeated": REPEATED_THRESHOLD}
        return {key: count for key, count in self.matches.items() if count >= thresholds[key[0]]}


def _records(world: World, file: int) -> Iterator[dict[str, Any]]:
    choose = random.Random(f"{world.seed}/{file}")
    count = world.large_file_records if file == world.files else world.records_per_file
    for index in range(count):
        dice = choose.random()
        name = LOUD_NAME if dice < 0.002 else REPEATED_NAME if dice < 0.01 else choose.choice(QUIET_NAMES)
        user = choose.choice(USERS)
        yield {
            "eventVersion": "1.08",
            "eventID": f"{world.seed:08x}-{file:06d}-{index:08d}",
            "eventTime": f"2026-05-{1 + file % 3:02d}T{index // 60 % 24:02d}:{index % 60:02d}:00Z",
            "eventSource": "cloudtrail.amazonaws.com",
            "eventName": name,
            "awsRegion": "eu-central-1",
            "sourceIPAddress": f"198.51.100.{choose.randrange(256)}",
            "userAgent": "aws-cli/2.0",
            "eventType": "AwsApiCall",
            "recipientAccountId": "111122223333",
            "userIdentity": {"type": "IAMUser", "userName": user, "accountId": "111122223333"},
            "requestParameters": {"name": f"trail-{choose.randrange(1000)}"},
            "responseElements": None,
        }


def write(world: World, folder: Path) -> None:
    """One gzip file of `{"Records": […]}` for each file of the world."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(world.files + 1):
        document = json.dumps({"Records": list(_records(world, file))}, separators=(",", ":"))
        (folder / f"{file:06d}.json.gz").write_bytes(gzip.compress(document.encode(), 1))


def expected(world: World) -> Expectation:
    """What the world must come to."""
    answer = Expectation()
    for file in range(world.files + 1):
        for record in _records(world, file):
            answer.event_ids.add(record["eventID"])
            user = record["userIdentity"]["userName"]
            if record["eventName"] == LOUD_NAME:
                answer.matches["World.Loud", f"loud-{user}-{world.seed:08x}"] += 1
            elif record["eventName"] == REPEATED_NAME:
                answer.matches["World.Repeated", f"repeated-{user}-{world.seed:08x}"] += 1
    return answer


RULES = {
    "loud.py": f'''
def rule(event):
    return event.get("eventName") == "{LOUD_NAME}"

def title(event):
    return "loud " + event.deep_get("userIdentity", "userName")

def dedup(event):
    return "loud-" + event.deep_get("userIdentity", "userName") + "-" + event.get("eventID")[:8]
''',
    "loud.yml": """
AnalysisType: rule
RuleID: World.Loud
Filename: loud.py
Enabled: true
LogTypes: [AWS.CloudTrail]
Severity: High
DedupPeriodMinutes: 1440
""",
    "repeated.py": f'''
def rule(event):
    return event.get("eventName") == "{REPEATED_NAME}"

def title(event):
    return "repeated " + event.deep_get("userIdentity", "userName")

def dedup(event):
    return "repeated-" + event.deep_get("userIdentity", "userName") + "-" + event.get("eventID")[:8]
''',
    "repeated.yml": f"""
AnalysisType: rule
RuleID: World.Repeated
Filename: repeated.py
Enabled: true
LogTypes: [AWS.CloudTrail]
Severity: Low
Threshold: {REPEATED_THRESHOLD}
DedupPeriodMinutes: 1440
""",
}


def write_rules(folder: Path) -> None:
    """The two rules, with thresholds 1 and 50."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in RULES.items():
        (folder / name).write_text(text)
