"""Routing: a rule is left out only where it would have returned False with no effect."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from ingestd.detections import Engine, Watch
from ingestd.detections.event import PantherEvent
from ingestd.detections.routing import looks, patterns, plan
from ingestd.detections.routing.patterns import is_quick
from ingestd.errors import RuleTimeout
from tests.detections.conftest import Fork

Json = dict[str, Any]

HELPERS = """
    from collections.abc import Mapping
    from functools import reduce
    FAILED = "failed"
    LEARNT = set()
    LAST = [None]
    def remember(event):
        LAST[0] = event.get("source")
    def success(event):
        if event.get("errorCode", "") or event.get("errorMessage", ""):
            return False
        return True
    def regions():
        return ["a", "b"]
    def deep_get(start, *keys, default=None):
        end = reduce(lambda at, key: at.get(key, default) if isinstance(at, Mapping) else default, keys, start)
        if end is None:
            return default
        return end
"""
PREAMBLE = r"""
import json
import re
from fnmatch import fnmatch
from ipaddress import ip_address
from unittest.mock import MagicMock
import my_helpers
from my_helpers import deep_get, success, regions
ALLOWED = ("iam", "sts")
CREATES = re.compile(r"^Cre\w+$")
NAMES = {"Create", "Delete"}
PREFIXES = ("Put", "Get")
CHANGING = ["x"]
LISTS = {"a": ["iam"], "b": []}
SHOWN = {"a": ["iam"]}
TABLE = {"Create": 1}
NESTED = {"Create": {"fields": ["a"]}}
GROUPS = {"create": ["Create"], "all": ["Create", "Delete"]}
SEEN = {}
def own(event):
    return event.get("source") == "iam"
def kind_of(event):
    if event.get("name") == "Create":
        return "Created"
    return event.get("name") or "none"
def parsed(text):
    if text is None:
        return {}
    if isinstance(text, str):
        try:
            return json.loads(text)
        except ValueError:
            return {}
    return {}
def pair(event):
    return event.get("source"), event.get("name", "")
def is_one_of(event, names=None):
    if names:
        return event.get("name") in GROUPS.get(names, [])
    return True
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
    "loop": "for x in event.get('l', []):\n        return True\n    return False",
    "base helper": "return deep_get(event, 'user', 'type', default='') == 'Root'",
    "known answer": "return event.udm('known') == 'failed'",
    "patterns": "return fnmatch(event.get('name', ''), 'Create*') and event.get('source') == 'iam'",
    "pattern": "return bool(CREATES.search(event.get('name', '')))",
    "written pattern": "return re.match('Cre[a-z]+$', event.get('name', '')) is not None",
    "mocked": "global ALLOWED\n    if isinstance(ALLOWED, MagicMock):\n        ALLOWED = ALLOWED()\n"
    "    return event.get('source') in ALLOWED",
    "present": "return 'name' in event and event['name'] == 'Create'",
    "slow pattern": "return bool(re.search('(a+)+$', event.get('name', '')))",
    "walk": "return event.deep_walk('l', 'x', default='') == 'Create' and event.get('source') == 'ec2'",
    "in what a walk finds": "return 'Create' in event.deep_walk('list', 'x', default=[])",
    "elements": "for x in event.deep_walk('list') or []:\n        if x.get('x') == 'Create' and x.get('y'):\n"
    "            return True\n    return False",
    "elements of a view": "for x in event.get('list', []):\n        if x['x'] != 'Describe':\n"
    "            return True\n    return False",
    "elements themselves": "for x in event.get('names', []):\n        if x in NAMES:\n            return True\n"
    "    return False",
    "list or one": "found = event.deep_walk('list')\n    found = found if isinstance(found, list) else [found]\n"
    "    for x in found:\n        if x.get('x', '') == 'Create':\n            return True\n    return False",
    "constant loop": "for prefix in PREFIXES:\n        if event.get('name', '').startswith(prefix):\n"
    "            return True\n    return False",
    "within": "status = event.udm('status') or {}\n    return status.get('code') in (403, 7)",
    "named": "if found := event.get('errorCode'):\n        return True\n    return event.get('name') == 'Create'",
    "value of a function": "kind = kind_of(event)\n    return kind == 'Created' and event.get('source') == 'ec2'",
    "parsed": "body = parsed(event.deep_get('user', 'body'))\n    return body.get('a', {}).get('b') is False",
    "unpacked": "kind, name = pair(event)\n    return kind == 'iam' or name == 'Create'",
    "keyword": "return is_one_of(event, names='all')",
    "nested constant": "return event.get('name') in GROUPS['create'] or event.get('name') in GROUPS.get('all', [])",
    "small table": "return event.get('name') in GROUPS.get(event.get('source'), ['Create'])",
    "caught": "try:\n        if event.get('name').lower() == 'create':\n            return True\n"
    "    except AttributeError:\n        return event.get('source') == 'iam'\n    return False",
    "other default": "kind = event.deep_get('user', 'kind', default=event.get('name'))\n"
    "    return kind.lower() == 'create'",
    "late global": "global SEEN\n    if event.get('name') != 'Create':\n        return False\n    SEEN = {1}\n"
    "    return True",
    "own global": "global SEEN\n    SEEN = event.get('name', '')\n    return SEEN == 'Create'",
    "method's list": "return 'bad' in (event.udm('tags') or [])",
}
UNGUARDED = {
    "effect": "CHANGING.append(1)\n    return event.get('name') == 'Create'",
    "changing list": "return event.get('name') in CHANGING",
    "state": "global SEEN\n    SEEN = globals().get('SEEN', 0) + 1\n    return SEEN > 2",
    "wrong type": "return event.get('name') or None",
    "returns nothing": "if event.get('name') == 'Create':\n        return True",
}


def build(fork: Fork, bodies: dict[str, str]) -> None:
    """One rule per body, a helper, and a data model with a method that can fail."""
    fork.helper("my_helpers", HELPERS)
    model = """
        from my_helpers import FAILED, deep_get
        def tags(event):
            name = event.get('name')
            if name:
                return [name]
            return []
        def parts(event):
            for part in event.get('name').split('e'):
                if part in ('Cr', 'at'):
                    return 'found'
            return None
        def kind(event):
            return 'failed' if event.get('name').lower() == 'create' else None
        def known(event):
            if deep_get(event, 'user', 'type') != 'Root':
                return None
            if event.get('name', '').startswith('Cre'):
                return FAILED
            return kind(event)
    """
    fork.write("data_models/m.py", model)
    mappings = [{"Name": name, "Method": name} for name in ("kind", "known", "tags", "parts")] + [
        {"Name": "actor", "Path": "user.name"},
        {"Name": "status", "Path": "status"},
    ]
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


QUIET: Json = {
    "name": "Describe", "source": "ec2", "user": {"type": "User", "name": "ana"}, "arn": "a", "ip": "::1",
    "list": [{"x": "Describe", "y": 1}, {"x": "Describe"}], "names": ["a", "b"], "status": {"code": 200},
}  # fmt: skip


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


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        (r"^arn:.+/i-[0-9a-f]+$", True),
        (r"(?:a|b)c{2,3}\.", True),
        (r"[]*+(]x+", True),
        (r"(a+)+$", False),
        (r"(?:ab)*", False),
        (r"a*b*c*", False),
        (r"(a)\1", False),
        (r"(?=a)b", False),
        (r"(?P<n>a)", False),
        (r"(?i:a)", False),
        (r"(?:a|b){3}", False),
    ],
)
def test_patterns_that_cannot_take_long(text: str, quick: bool) -> None:
    """Few repeats of single characters; groups that repeat may take for ever."""
    assert is_quick(re.compile(text)) is quick


def test_long_texts_are_left_to_the_rule(fork: Fork) -> None:
    """What a pattern says of them is not asked for in advance."""
    build(fork, {"pattern": GUARDED["pattern"]})
    assert candidates(fork.engine(), {"name": "x" * 300}) == {"pattern"}


def test_pattern_that_takes_too_long_is_left_to_the_rule(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked within the time of the first rule that asks; once that is up, the rule runs and answers for it."""
    build(fork, {"slow pattern": GUARDED["slow pattern"]})
    engine = fork.engine()
    asked = []

    def takes_too_long(self: patterns.Asking, text: object) -> None:
        asked.append(engine.watch.running)
        raise RuleTimeout("took more than 1 s")

    monkeypatch.setattr(patterns.Asking, "__call__", takes_too_long)
    assert candidates(engine, QUIET) == {"slow pattern"}
    assert asked == ["slow_pattern.0"]
    assert engine.watch.running is None


def test_one_changed_constant_unguards_its_readers_only(fork: Fork) -> None:
    """A set that a helper changes is no constant for anyone who imported it."""
    fork.helper("shared", "NAMES = {'Create'}\ndef learn(name):\n    NAMES.add(name)\n")
    fork.helper("frozen", "NAMES = frozenset({'Create'})\n")
    for number in range(3):
        for helper in ("shared", "frozen"):
            body = f"from {helper} import NAMES\ndef rule(event):\n    return event.get('name') in NAMES\n"
            fork.rule(f"{helper}.{number}", body)
    assert candidates(fork.engine(), QUIET) == {"shared"}


@pytest.mark.parametrize("code", ["exec('1')", "globals()['FLAG'] = 1", "sys.modules['sys'].__dict__['x'] = 1"])
def test_a_module_that_reaches_everything_unguards_names(fork: Fork, code: str) -> None:
    """exec, globals() and the like may change what no analysis can see."""
    for number in range(3):
        fork.rule(f"set.{number}", "NAMES = {'a'}\ndef rule(event):\n    return event.get('name') in NAMES\n")
        fork.rule(f"flag.{number}", "FLAG = 'a'\ndef rule(event):\n    return event.get('name') == FLAG\n")
    assert candidates(fork.engine(), QUIET) == set()
    fork.rule("evil", f"import sys\ndef rule(event):\n    {code}\n    return False\n")
    assert candidates(fork.engine(), QUIET) == {"set", "flag", "evil"}


def test_files_that_change_after_loading_change_nothing(fork: Fork) -> None:
    """What is read for routing is what was compiled, though the folder may be at another commit by then."""
    build(fork, {"equal": GUARDED["equal"], "in a set": GUARDED["in a set"]})
    detections = fork.load()
    for file in fork.root.glob("rules/equal*.py"):
        file.write_text(file.read_text().replace("== 'Create'", "== 'Delete'"))
    for file in fork.root.glob("rules/in_a_set*.py"):
        file.unlink()
    assert candidates(Engine(detections, Watch()), {"name": "Create"}) == {"equal", "in a set"}


def test_keys_in_another_case_are_found(fork: Fork) -> None:
    """The index looks values up as rules do."""
    build(fork, {"equal": GUARDED["equal"]})
    assert candidates(fork.engine(), {"NAME": "Create"}) == {"equal"}


HOSTILE = {
    "swap": "import my_helpers\ndef rule(event):\n    my_helpers.FAILED = event.get('name')\n    return False",
    "reader": "import my_helpers\ndef rule(event):\n    return event.get('source') == my_helpers.FAILED",
    "shadow": "def len(x):\n    return 1\ndef rule(event):\n    return len(event.get('l') or '') == 1",
    "own fnmatch": "def fnmatch(a, b):\n    return True\n"
    "def rule(event):\n    return fnmatch(event.get('name'), 'x')",
    "own deep_get": "def deep_get(start, *keys, default=None):\n    return 'Root'\n"
    "def rule(event):\n    return deep_get(event, 'user', 'type') == 'Root'",
    "rebound": "from my_helpers import deep_get\ndef deep_get(event, *keys):\n    return 1\n"
    "def rule(event):\n    return deep_get(event, 'user') == 1",
    "no mock": "class MagicMock:\n    pass\nNAMES = ('a',)\ndef rule(event):\n    global NAMES\n"
    "    if isinstance(NAMES, MagicMock):\n        NAMES = ('Create',)\n    NAMES += (event.get('name'),)\n"
    "    return event.get('source') in NAMES",
    "caught": "KIND = 'x'\ndef rule(event):\n    global KIND\n    try:\n        event.get('name').lower()\n"
    "    except AttributeError as KIND:\n        pass\n    return event.get('source') == 'iam' and KIND == 'x'",
    "container": "return event.get('l') == ['Create'] or event.get('user') == {'type': 'Root'}",
    "pairs": "return event.get('l') in (('Create',), ('Delete',))",
    "one or true": "return event.get('name') in (1, 0.0)",
    "nan": "return event.get('name') != event.get('name')",
    "length": "return len(event.get('name', 'abc')) > 3 and event.get('source') != 'iam'",
    "slice": "return event.get('name', '')[:2] == 'Cr' and event['source'] == 'iam'",
    "type": "return isinstance(event.get('l'), list) or not isinstance(event.get('user', {}), (dict, str, int))",
    "nested": "if event.get('name'):\n        if event.get('source') == 'iam':\n"
    "            return event.get('ip') == 'x'\n"
    "        elif event.deep_get('user', 'type'):\n            return event['errorCode'] is None\n    return False",
}

HOSTILE |= {
    "elements that differ": "for x in event.get('list', []):\n        if x.get('x') == 'Create':\n"
    "            return True\n        if x.get('y') > 3:\n            return False\n    return False",
    "left over": "found = None\n    for x in event.get('list', []):\n        found = x.get('x')\n"
    "    return found == 'Create'",
    "from before": "found = ''\n    for x in event.get('list', []):\n        if found == 'Create':\n"
    "            return True\n        found = x.get('x')\n    return False",
    "keys of a mapping": "for x in event.get('user', {}):\n        if x == 'type':\n            return True\n"
    "    return False",
    "letters": "for x in event.get('name', ''):\n        if x == 'C':\n            return True\n    return False",
    "walk and case": "return event.deep_walk('name') == 'Create' or event.deep_walk('list', 'x') == ['Create', 'x']",
    "walk over lists": "return event.deep_walk('l', 'x', 'x', default='') == 'Create'",
    "unhashable": "return event.deep_walk('list', 'x') == 1",
    "changed list": "for group in LISTS.values():\n        group.append('x')\n"
    "    return event.get('source') in LISTS['a']",
    "shown list": "return event.get('source') in SHOWN['a']",
    "taken list": "taken = SHOWN['a']\n    taken.append(event.get('source'))\n    return len(taken) > 2",
    "reached set": "my_helpers.LEARNT.add(event.get('source'))\n    return False",
    "reached reader": "return event.get('name') in my_helpers.LEARNT",
    "unlike texts": "return (event.udm('status') or {}).get('code') == 'Create'",
    "null status": "return event.udm('status').get('code') == 'Create'",
    "default that counts": "return event.get('status', {}).get('code', 'Create') == 'Create'",
    "caught late": "try:\n        kind = event['name'].lower()\n    except (KeyError, AttributeError):\n"
    "        kind = 'create'\n    return kind == 'create'",
    "unbound": "if event.get('source') == 'iam':\n        kind = 1\n    return kind == 2",
    "global in a branch": "if event.get('source') == 'x':\n        global SEEN\n        return False\n"
    "    SEEN = event.get('name')\n    return False",
    "global read": "return event.get('source') == SEEN",
    "helper's global": "my_helpers.remember(event)\n    return my_helpers.LAST[0] == 'iam'",
    "parts of a name": "return event.udm('parts') == 'found'",
    "odd call": "return event.get('name') in list([], default='x')",
    "minus": "return -event.get('ip', 0) == 5",
    "default to look into": "return event.deep_get('user', 'kind', default={'kind': 'a'}) == 'a'",
    "generator used up": "found = (n == event.get('name') for n in ('Create', 'x'))\n"
    "    if any(found):\n        pass\n    return not any(found)",
    "generator called": "def kinds(event):\n    if event.get('name') == 'x':\n        return False\n    yield 1\n"
    "def rule(event):\n    return bool(kinds(event))",
    "left over, perhaps": "for x in event.get('list', []):\n        pass\n    y = x\n    return False",
    "own variable": "if event.get('source') == 'iam':\n        len = str\n    return len(event.get('name', '')) == 9",
    "set among keys": "return set(event.get('l', [])) in TABLE",
    "zeros": "return str(event.get('ip')).startswith('-')",
    "type that is given": "def has(event, str):\n    return isinstance(event.get('name'), str)\n"
    "def rule(event):\n    return has(event, int)",
    "default that raises": "return event.get('name', TABLE['x']) == 'Create'",
    "default of another": "return event.get('name', event['source']) == 'Create'",
    "deep default": "return event.deep_get('user', 'type', default=event['source']) == 'Root'",
    "table's default": "return TABLE.get(event.get('name'), event['source']) == 'Create'",
}

ODD: list[Any] = [
    None, "", "Create", "create", "Delete", "PutX", "iam", "Root", "failed", "r-a", "x", "ex", 0, 1, True, False,
    1.5, 0.0, -0.0, -5, float("nan"), [], ["Create"], {}, {"type": "Root"}, {"a": 1}, "10.0.0.1", "y" * 5000,
]  # fmt: skip
KEYS = ["name", "NAME", "source", "errorCode", "errorMessage", "user", "arn", "ip", "l", "p_udm", "list", "names"]


def random_event(generator: random.Random) -> Json:
    """An event of odd values under the keys that the rules ask for, some keys missing."""
    event = {key: generator.choice(ODD) for key in KEYS if generator.random() < 0.6}
    if generator.random() < 0.5:
        event["list"] = [
            {generator.choice(("x", "X", "y")): generator.choice(ODD)}
            if generator.random() < 0.8
            else generator.choice(ODD)
            for _ in range(generator.randrange(4))
        ]
        event["status"] = {"code": generator.choice([403, 7, *ODD])}
    if generator.random() < 0.7:
        event["user"] = {"type": generator.choice(ODD), "name": generator.choice(ODD)}
    return event


@pytest.mark.parametrize("seed", range(2))
def test_rules_that_lead_an_analysis_astray(fork: Fork, seed: int) -> None:
    """Own functions under known names, globals that change, odd comparisons: no match or error is missed."""
    build(fork, {})
    for name, body in HOSTILE.items():
        code = body if "def rule" in body else PREAMBLE + "def rule(event):\n    " + body
        fork.rule(name.replace(" ", "_"), code + "\n")
    engine = Engine(fork.load(), Watch(), routing="verify")
    generator = random.Random(seed)
    for _ in range(500):
        engine.evaluate(random_event(generator), "Test.Log")
    assert engine.missed == []


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
    assert skipped > 400 * 5


def test_routing_within_narrow_bounds(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room for answers and trees: they are forgotten and begun anew, and no match is missed."""
    monkeypatch.setattr(looks, "MAX_VALUES", 4)
    monkeypatch.setattr(plan, "_MAX_BRANCHES", 40)
    monkeypatch.setattr(plan, "_FREE_BRANCHES", 100)
    monkeypatch.setattr(plan, "_EVENTS_PER_BRANCH", 2)
    build(fork, GUARDED)
    engine = Engine(fork.load(), Watch(), routing="verify")
    generator = random.Random(0)
    for _ in range(600):
        engine.evaluate(random_event(generator), "Test.Log")
    assert engine.missed == []


def test_traffic_that_never_repeats_itself(fork: Fork) -> None:
    """Where every text is new, and looking into it for all rules costs more than the rule at hand, that rule runs."""
    for number in range(60):
        body = f"event.get('name') == 'n{number}' and event.get('id', '').endswith('-{number:03d}')"
        fork.rule(f"r{number}", f"def rule(event):\n    return {body}\n")
    engine = fork.engine()
    assert candidates(engine, {"name": "n7", "id": "1-000"}) == set()
    for number in range(2 * looks.MAX_VALUES):
        engine.evaluate({"name": "n7", "id": f"{number:08d}-x"}, "Test.Log")
    assert candidates(engine, {"name": "n7", "id": "2-000"}) == {"r7"}


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
