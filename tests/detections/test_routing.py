"""Routing: a rule is left out only where it would have returned False with no effect."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ingestd.detections import Engine, Watch
from ingestd.detections.event import PantherEvent
from tests.detections.conftest import Fork

Json = dict[str, Any]

HELPERS = """
    FAILED = "failed"
    def success(event):
        if event.get("errorCode", "") or event.get("errorMessage", ""):
            return False
        return True
    def regions():
        return ["a", "b"]
"""
PREAMBLE = """
import re
from ipaddress import ip_address
import my_helpers
from my_helpers import success, regions
NAMES = {"Create", "Delete"}
PREFIXES = ("Put", "Get")
CHANGING = ["x"]
TABLE = {"Create": 1}
NESTED = {"Create": {"fields": ["a"]}}
def own(event):
    return event.get("source") == "iam"
def change():
    CHANGING.append("y")
"""
COPIES = 2
GUARDED = {
    "equal": "return event.get('name') == 'Create'",
    "other way": "return 'Create' == event.get('name')",
    "in a set": "return event.get('name') in NAMES",
    "item": "return event['name'] == 'Create'",
    "startswith": "return event.get('name', '').startswith(PREFIXES)",
    "any prefix": "return any(event.get('name', '').startswith(p) for p in PREFIXES)",
    "and": "return event.get('name') == 'Create' and event.get('source') == 'iam'",
    "early return": "if event.get('name') != 'Create':\n        return False\n    return event.deep_walk('l') == 1",
    "helper": "return success(event) and event.get('name') == 'Create'",
    "not helper": "if not success(event):\n        return False\n    return event.get('name') == 'Create'",
    "own function": "return own(event) and event.get('name') in NAMES",
    "variable": "name = event.get('name')\n    return name == 'Create' or name == 'Delete'",
    "all": "return all([event.get('source') == 'iam', event.get('name') == 'Create'])",
    "any": "return any([event.get('name') == 'Delete', event.get('name') == 'Create'])",
    "deep": "return event.deep_get('user', 'type', default='') == 'Root'",
    "chain": "return event.get('user', {}).get('type', '') == 'Root'",
    "udm last": "return event.udm('kind') == 'failed' and event.get('source') == 'iam'",
    "udm path": "return event.udm('actor') == 'root'",
    "udm": "return event.udm('kind') == my_helpers.FAILED",
    "lower": "return event.get('name', '').lower() == 'create'",
    "raises first": "return event.get('arn').endswith('x') and event.get('name') == 'Create'",
    "several": "return any(event.udm('actor') == 'r-' + r for r in regions()) and event.get('name') == 'Create'",
    "truth": "return bool(event.get('errorCode')) and event.get('name') == 'Create'",
    "falsy value": "return event.get('source') and event.get('name') == 'Create'",
    "address": "try:\n        ip_address(event.get('ip'))\n    except ValueError:\n        return False\n"
    "    return event.get('name') == 'Create'",
    "reset": "global SEEN\n    SEEN = {}\n    if event.get('name') != 'Create':\n        return False\n"
    "    SEEN[1] = 2\n    return True",
    "table": "return bool(TABLE.get(event.get('name')))",
    "conditional": "return (event.get('name') == 'Create') if event.get('source') else False",
    "keys of a mapping": "return event.get('name') in NESTED.keys() and bool(NESTED[event.get('name')]['fields'])",
    "lambdas": "make = {'Create': lambda e: e}.get(event.get('name'))\n    if not make:\n        return False\n"
    "    return bool(make(event))",
    "present": "return 'name' in event and event['name'] == 'Create'",
}
UNGUARDED = {
    "effect": "CHANGING.append(1)\n    return event.get('name') == 'Create'",
    "changing list": "return event.get('name') in CHANGING",
    "regex": "return bool(re.search('(a+)+$', event.get('name', '')))",
    "loop": "for x in event.get('l', []):\n        return True\n    return False",
    "state": "global SEEN\n    SEEN = globals().get('SEEN', 0) + 1\n    return SEEN > 2",
    "wrong type": "return event.get('name') or None",
    "returns nothing": "if event.get('name') == 'Create':\n        return True",
}


def build(fork: Fork, bodies: dict[str, str]) -> None:
    """One rule per body, a helper, and a data model with a method that can fail."""
    fork.helper("my_helpers", HELPERS)
    model = "def kind(event):\n    return 'failed' if event.get('name').lower() == 'create' else None\n"
    fork.write("data_models/m.py", model)
    mappings = [{"Name": "kind", "Method": "kind"}, {"Name": "actor", "Path": "user.name"}]
    item = {"AnalysisType": "datamodel", "DataModelID": "M", "LogTypes": ["Test.Log"], "Enabled": True}
    fork.item("data_models/m.yml", item | {"Filename": "m.py", "Mappings": mappings})
    for number in range(COPIES):  # several of each, since a field must be worth looking at
        for name, body in bodies.items():
            indented = "\n".join(["def rule(event):", "    " + body])
            fork.rule(f"{name.replace(' ', '_')}.{number}", PREAMBLE + indented + "\n")


def candidates(engine: Engine, event: Json) -> set[str]:
    """Bodies' names of the rules that would run."""
    plan = engine._plans["Test.Log"]
    assert plan is not None
    chosen = plan.candidates(PantherEvent(event, plan.data_model))
    return {runnable.id.partition(".")[0].replace("_", " ") for runnable in chosen}


QUIET: Json = {"name": "Describe", "source": "ec2", "user": {"type": "User", "name": "ana"}, "arn": "a", "ip": "::1"}


@pytest.mark.parametrize("name", GUARDED)
def test_guards_that_are_understood(fork: Fork, name: str) -> None:
    """Rules of these shapes do not run on an event of another kind."""
    build(fork, {name: GUARDED[name]})
    assert candidates(fork.engine(), QUIET) == set()


@pytest.mark.parametrize("name", UNGUARDED)
def test_rules_that_always_run(fork: Fork, name: str) -> None:
    """Effects, state, loops, regular expressions and wrong types: the rule runs."""
    build(fork, {name: UNGUARDED[name]})
    assert candidates(fork.engine(), QUIET) == {name}


def test_one_changed_constant_unguards_its_readers_only(fork: Fork) -> None:
    """A set that a helper changes is no constant for anyone who imported it."""
    fork.helper("shared", "NAMES = {'Create'}\ndef learn(name):\n    NAMES.add(name)\n")
    fork.helper("frozen", "NAMES = frozenset({'Create'})\n")
    for number in range(3):
        for helper in ("shared", "frozen"):
            body = f"from {helper} import NAMES\ndef rule(event):\n    return event.get('name') in NAMES\n"
            fork.rule(f"{helper}.{number}", body)
    assert candidates(fork.engine(), QUIET) == {"shared"}


def test_a_module_that_reaches_everything_unguards_containers(fork: Fork) -> None:
    """exec, globals() and the like may change what no analysis can see."""
    for number in range(3):
        fork.rule(f"set.{number}", "NAMES = {'a'}\ndef rule(event):\n    return event.get('name') in NAMES\n")
    assert candidates(fork.engine(), QUIET) == set()
    fork.rule("evil", "def rule(event):\n    exec('1')\n    return False\n")
    assert candidates(fork.engine(), QUIET) == {"set", "evil"}


def test_keys_in_another_case_are_found(fork: Fork) -> None:
    """The index looks values up as rules do."""
    build(fork, {"equal": GUARDED["equal"]})
    assert candidates(fork.engine(), {"NAME": "Create"}) == {"equal"}


ODD: list[Any] = [
    None, "", "Create", "create", "Delete", "PutX", "iam", "Root", "failed", "r-a", "x", "ex", 0, 1, True, False,
    1.5, float("nan"), [], ["Create"], {}, {"type": "Root"}, {"a": 1}, "10.0.0.1", "y" * 5000,
]  # fmt: skip
KEYS = ["name", "NAME", "source", "errorCode", "errorMessage", "user", "arn", "ip", "l", "p_udm"]


def random_event(generator: random.Random) -> Json:
    """An event of odd values under the keys that the rules ask for, some keys missing."""
    event = {key: generator.choice(ODD) for key in KEYS if generator.random() < 0.6}
    if generator.random() < 0.7:
        event["user"] = {"type": generator.choice(ODD), "name": generator.choice(ODD)}
    return event


@pytest.mark.parametrize("seed", range(2))
def test_routing_changes_nothing(fork: Fork, seed: int) -> None:
    """Matches and errors on events of odd values are those of running everything."""
    build(fork, GUARDED | UNGUARDED)
    routed, plain = fork.engine(), None
    plain = Engine(routed.detections, Watch(), routing="off")
    generator = random.Random(seed)
    skipped = 0
    for _ in range(400):
        event = random_event(generator)
        expected = plain.evaluate(event, "Test.Log")
        found = routed.evaluate(event, "Test.Log")
        stateless = [match for match in expected if not match.detection_id.startswith("state")]
        assert [match for match in found if not match.detection_id.startswith("state")] == stateless
        skipped += len(GUARDED) + len(UNGUARDED) - len(candidates(routed, event))
    assert skipped > 400


def test_verify_reports_what_routing_would_miss(fork: Fork) -> None:
    """It runs everything and names the rule; a sound routing leaves the list empty."""
    build(fork, GUARDED)
    engine = Engine(fork.load(), Watch(), routing="verify")
    generator = random.Random(0)
    for _ in range(100):
        engine.evaluate(random_event(generator), "Test.Log")
    assert engine.missed == []
    plan = engine._plans["Test.Log"]
    assert plan is not None
    plan.candidates = lambda event: ()  # type: ignore[method-assign]  # a routing gone wrong
    engine.evaluate({"name": "Create", "p_row_id": "r"}, "Test.Log")
    assert ("equal.0", "r", "rule") in {(miss.detection_id, miss.row_id, miss.kind) for miss in engine.missed}


def test_careful_mode_runs_everything(fork: Fork) -> None:
    """A rule that could kill the process is named before anything of it runs, so nothing is left to an index."""
    build(fork, {"equal": GUARDED["equal"]})
    watch = Watch()
    engine = fork.engine(watch)
    called: list[str] = []
    watch.before_call = called.append
    engine.evaluate(QUIET, "Test.Log")
    assert len(called) == COPIES


def test_a_failing_data_model_fails_its_rules_only(fork: Fork) -> None:
    """The method raises in the index and again in each rule that asks: one error each, no window left open."""
    build(fork, {"udm": GUARDED["udm"], "equal": GUARDED["equal"]})
    watch = Watch()
    engine = fork.engine(watch)
    matches = engine.evaluate({"name": None}, "Test.Log")
    assert [(match.kind, match.dedup) for match in matches] == [("error", "AttributeError")] * COPIES
    assert watch.running is None
