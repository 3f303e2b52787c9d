"""The rules that come with ingestd: complete, quiet on their counterexamples, not shaken by whatever logs hold."""

from __future__ import annotations

import copy
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest

from ingestd.detections import DetectionSet, Engine, Watch, kv, reference
from ingestd.detections.loading.spec import Detection
from ingestd.detections.testing import suite
from ingestd.schemas import Registry, Session, SessionInfo

REPOSITORY = Path(__file__).parents[2]
OWN = REPOSITORY / "detections"
LEAST_RULES = 40
MUTATIONS = 6
OTHERS: tuple[Any, ...] = (
    None,
    "",
    "text",
    7,
    -1.5,
    True,
    [],
    ["a", None, {"b": []}],
    {},
    {"a": {"b": [1]}},
    "{",
    "[[[[",
)
NO_WORDS = re.compile(r"ImmutableList|ImmutableCaseInsensitiveDict|PantherEvent|\bNone\b")
S3_LINE = (
    "- {bucket} [20/Nov/2026:08:00:00 +0000] {remoteip} {requester} 0A1B {operation} {key}"
    ' "GET / HTTP/1.1" {httpstatus} - - - 1 1 "-" "-" -'
)
FLOW_LINES = (
    "account-id interface-id srcaddr dstaddr dstport start end action log-status\n"
    "{account} {interfaceId} {srcAddr} {dstAddr} {dstPort} 1795161600 1795161659 {action} OK"
)


class Absent(dict[str, Any]):
    """What a log does not hold is a dash in its line."""

    def __missing__(self, key: str) -> str:
        return "-"


class Calls:
    """A profiler that counts calls of Python's functions."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _frame: FrameType, event: str, _argument: object) -> None:
        """See `sys.setprofile`."""
        self.count += event == "call"


@pytest.fixture(scope="module")
def own() -> DetectionSet:
    """All of them, with their tests."""
    return suite.load_for_tests((str(OWN),))


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The built-in log types."""
    return Registry.load([])


@pytest.fixture
def _state() -> Iterator[None]:
    """An empty store for what rules remember."""
    kv.connect(kv.MemoryStore())
    yield
    kv.connect(None)


def _session(registry: Registry, log_type: str) -> Session:
    return registry.classifier((log_type,)).session(SessionInfo(identity="file:/x#1"))


def _records(log_type: str, sample: dict[str, Any]) -> list[bytes]:
    """The sample as a file of its log type holds it."""
    values = Absent(sample)
    if log_type == "AWS.S3ServerAccess":
        return [S3_LINE.format_map(values).encode()]
    if log_type == "AWS.VPCFlow":
        return FLOW_LINES.format_map(values).encode().splitlines()
    return [orjson.dumps({name: value for name, value in sample.items() if not name.startswith("p_")})]


def _normalised(session: Session, records: list[bytes]) -> dict[str, Any] | None:
    read = [session.read(record, ordinal) for ordinal, record in enumerate(records)][-1]
    return read if isinstance(read, dict) else None


def _samples(own: DetectionSet) -> Iterator[tuple[Detection, str, dict[str, Any]]]:
    """Each test of each rule with the log type that its sample has. Mocks say what cannot be said by one record."""
    for detection in own.detections.values():
        for test in detection.tests:
            if "Mocks" not in test:
                yield detection, test["Log"].get("p_log_type", detection.log_types[0]), test


def test_every_rule_passes_its_tests(own: DetectionSet) -> None:
    """Two tests or more each, one that alerts and one that does not, and some test states the title."""
    report = suite.run_all(own, suite.Settings(minimum=2))
    assert report.failed == {}
    assert len(own.detections) >= LEAST_RULES
    untitled = [one.id for one in own.detections.values() if not any("ExpectedTitle" in test for test in one.tests)]
    assert untitled == []


def test_what_is_worse_is_an_alert_of_its_own(own: DetectionSet) -> None:
    """Where the event decides on the severity, a worse match does not vanish in the alert of one that was less so."""
    severities: dict[tuple[str, str], set[str]] = {}
    for result in suite.run_all(own, suite.Settings()).results:
        if result.alert is not None:
            severities.setdefault((result.id, result.alert.dedup), set()).add(result.alert.severity)
    assert [key for key, several in severities.items() if len(several) > 1] == []


def test_every_rule_says_what_it_is_for(own: DetectionSet) -> None:
    """A name, what it means, what to do, where to read on, and the technique of MITRE ATT&CK, in full sentences."""
    for one in own.detections.values():
        assert one.display_name, one.id
        assert one.description.endswith("."), one.id
        assert one.runbook.endswith("."), one.id
        assert one.reference.startswith("https://"), one.id
        assert one.tags, one.id
        tactics = one.reports["MITRE ATT&CK"]
        assert tactics, one.id
        assert [name for name in tactics if not re.fullmatch(r"TA\d{4}(:T\d{4}(\.\d{3})?)?", name)] == [], one.id


def test_names_tell_where_things_are(own: DetectionSet) -> None:
    """`Ingestd.AWS.TrailStopped` is `rules/aws/trail_stopped.yml`; the clouds have most of them."""
    for one in own.detections.values():
        folder, name = one.id.removeprefix("Ingestd.").split(".")
        file = "_".join(re.findall(r"[A-Z][a-z0-9]*", name.replace("GuardDuty", "Guardduty"))).lower()
        assert Path(one.file).relative_to(OWN.resolve()) == Path("rules", folder.lower(), f"{file}.yml")
    counted = Counter(one.id.split(".")[1] for one in own.detections.values())
    assert min(counted["AWS"], counted["Azure"], counted["GCP"]) >= 10


def test_the_page_of_rules_is_up_to_date() -> None:
    """`docs/rules.md` is what the rules' files say: run scripts/reference."""
    for name, text in reference.generated(REPOSITORY).items():
        assert (REPOSITORY / name).read_text() == text


def test_packs_hold_every_rule_with_its_helpers(own: DetectionSet) -> None:
    """`Ingestd.Core` holds all; each of the others what its name says, and the helpers needed for that."""
    rules = set(own.detections)
    assert rules <= set(own.packs["Ingestd.Core"])
    for pack, ids in own.packs.items():
        if pack != "Ingestd.Core":
            assert {name for name in rules if name.startswith(f"{pack}.")} == rules & set(ids)
        needed = {
            found
            for name in ids
            for file in OWN.rglob("*.py")
            if file.stem == name or (name in rules and own.detections[name].code == str(file.resolve()))
            for found in re.findall(r"^from (ingestd_\w+) import", file.read_text(), re.MULTILINE)
        }
        assert needed <= set(ids), pack


@pytest.mark.usefixtures("_state")
def test_verdicts_hold_for_what_the_schemas_make_of_a_sample(own: DetectionSet, registry: Registry) -> None:
    """A rule says of a record that went through its schema what it says of the record as its source wrote it."""
    engine = Engine(own, Watch())
    sessions = {name: _session(registry, name) for name in own.log_types}
    for detection, log_type, test in _samples(own):
        kv.connect(kv.MemoryStore())
        records = _records(log_type, test["Log"])
        session = _session(registry, log_type) if len(records) > 1 else sessions[log_type]
        event = _normalised(session, records)
        where = f"{detection.id}: {test['Name']}"
        assert event is not None, where
        matches = {match.detection_id: match for match in engine.evaluate(event, log_type)}
        assert (detection.id in matches) is test["ExpectedResult"], where
        if "ExpectedTitle" in test:
            assert matches[detection.id].title == test["ExpectedTitle"], where


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in steps:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _mutated(sample: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """The sample with one value replaced by another kind of value, or gone."""
    changed = copy.deepcopy(sample)
    *way, last = dice.choice(list(_paths(changed)))
    here: Any = changed
    for step in way:
        here = here[step]
    if isinstance(here, dict) and dice.random() < 0.3:
        del here[last]
    else:
        here[last] = dice.choice(OTHERS)
    return changed


@pytest.mark.usefixtures("_state")
def test_no_record_makes_a_rule_fail(own: DetectionSet, registry: Registry) -> None:
    """Samples with values missing, null and of other types: no rule raises, routing misses none, titles are words."""
    dice = random.Random(1795161600)
    engine = Engine(own, Watch(), routing="verify")
    sessions = {name: _session(registry, name) for name in own.log_types}
    matched = 0
    for detection, log_type, test in _samples(own):
        if log_type in ("AWS.S3ServerAccess", "AWS.VPCFlow"):
            continue  # lines of text: their schema makes every value what it says
        for _ in range(MUTATIONS):
            sample = _mutated(test["Log"], dice)
            event = _normalised(sessions[log_type], _records(log_type, sample))
            for match in engine.evaluate(event, log_type) if event else ():
                matched += 1
                where = f"{match.detection_id} on {sample}, made of a test of {detection.id}"
                assert match.kind == "rule", f"{where}\n{match.error}"
                assert "_error" not in match.context, f"{where}\n{match.context}"
                assert match.title != match.detection_id, where
                assert not NO_WORDS.search(f"{match.title} {match.dedup}"), f"{where}\n{match.title}"
    assert engine.missed == []
    assert matched > len(own.detections)


@pytest.mark.usefixtures("_state")
def test_each_statement_of_an_enormous_document_is_looked_at_a_few_times(
    own: DetectionSet, registry: Registry
) -> None:
    """Policies of 50,000 statements, and nested 10,000 deep, cost all rules together no more than 20 calls a part."""
    engine = Engine(own, Watch())
    statement = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "*", "Principal": {"AWS": "111122223333"}}
    wide, deep = orjson.dumps({"Statement": [statement] * 50_000}).decode(), '{"Statement":' + "[" * 10_000
    for document, parts in ((wide, 50_000), (deep, 10_000)):
        record = {
            "eventName": "PutRolePolicy",
            "eventSource": "iam.amazonaws.com",
            "requestParameters": {"roleName": "r", "policyDocument": document},
        }
        event = _normalised(_session(registry, "AWS.CloudTrail"), [orjson.dumps(record)])
        assert event is not None
        calls = Calls()
        sys.setprofile(calls)
        try:
            found = engine.evaluate(event, "AWS.CloudTrail")
        finally:
            sys.setprofile(None)
        assert found == []
        assert calls.count < 20 * parts


@pytest.mark.skipif("INGESTD_CORPUS" not in os.environ, reason="INGESTD_CORPUS names no checkout of a public corpus")
def test_they_live_beside_a_public_corpus() -> None:
    """Loaded together: no id, helper or data model is taken twice."""
    loaded = suite.load_for_tests((str(OWN), os.environ["INGESTD_CORPUS"]))
    assert "Ingestd.AWS.TrailStopped" in loaded.detections
