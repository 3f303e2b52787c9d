"""The engine: what a detection's functions may return, and that no rule can hurt another."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from ingestd.detections import Engine, Override, Watch
from ingestd.errors import RuleTimeout
from ingestd.model import Match
from tests.detections.conftest import Fork

Json = dict[str, Any]
YES = "def rule(event):\n    return True\n"


def only(matches: list[Match]) -> Match:
    """The one match."""
    assert len(matches) == 1
    return matches[0]


def run(fork: Fork, event: Json, code: str, **keys: Any) -> Match:
    """The one match of a rule that is alone in the folder."""
    fork.rule("My.Rule", code, **keys)
    return only(fork.engine().evaluate(event, "Test.Log"))


def functions(**bodies: str) -> str:
    """A rule that says yes, with alert functions of the given bodies."""
    return YES + "".join(f"def {name}(event):\n    {body}\n" for name, body in bodies.items())


def test_a_match_carries_what_the_files_and_the_event_say(fork: Fork, event: Json) -> None:
    """Ids, times, static fields, tags and reports go into the match."""
    match = run(
        fork, event, YES, Description="d", Reference="r", Runbook="b", Threshold=5, DedupPeriodMinutes=15,
        Tags=["t"], Reports={"CIS": [3.6]}, DisplayName="Shown", OutputIds=["soc"], CreateAlert=False,
    )  # fmt: skip
    assert match == Match(
        kind="rule", detection_id="My.Rule", row_id=event["p_row_id"], log_type="Test.Log",
        event_time=event["p_event_time"], dedup="defaultDedupString:My.Rule", title="Shown", severity="HIGH",
        description="d", reference="r", runbook="b", destinations=("soc",), threshold=5, dedup_minutes=15,
        creates_alert=False, tags=("t",), reports={"CIS": ["3.6"]}, version=match.version,
    )  # fmt: skip
    assert len(match.version) == 16


def test_a_rule_that_says_no_gives_nothing(fork: Fork, event: Json) -> None:
    """False is no match; a log type that no rule looks at gives nothing either."""
    fork.rule("No", "def rule(event):\n    return False\n")
    engine = fork.engine()
    assert engine.evaluate(event, "Test.Log") == []
    assert engine.evaluate(event, "Other.Log") == []


@pytest.mark.parametrize(("said", "name"), [("None", "NoneType"), ("1", "int"), ("[]", "list"), ("'x'", "str")])
def test_a_verdict_must_be_a_bool(fork: Fork, event: Json, said: str, name: str) -> None:
    """Anything but True and False is a FunctionReturnTypeError, whatever its truth."""
    match = run(fork, event, f"def rule(event):\n    return {said}\n")
    assert match.kind == "error"
    assert match.dedup == "FunctionReturnTypeError"
    assert f"detection [My.Rule] function [rule] returned [{name}], expected [bool]" in match.title


LONG = "'x' * 2000"
CUT = "x" * 985 + "... (truncated)"


@pytest.mark.parametrize(
    ("code", "title", "dedup"),
    [
        (functions(title="return 'T'"), "T", "T"),
        (functions(title="return 'T'", dedup="return 'D'"), "T", "D"),
        (functions(title="return 'T'", dedup="return ''"), "T", "defaultDedupString:My.Rule"),
        (functions(title="return 'T'", dedup="return None"), "T", "defaultDedupString:My.Rule"),
        (functions(title="return 'T'", dedup="raise ValueError"), "T", "defaultDedupString:My.Rule"),
        (functions(title="raise ValueError"), "My.Rule", "My.Rule"),
        (functions(title="return None"), "My.Rule", "My.Rule"),
        (functions(title="return 3"), "My.Rule", "My.Rule"),
        (functions(title="return ''"), "", "defaultDedupString:My.Rule"),
        (functions(dedup="return 'D'"), "Shown", "D"),
        (functions(title=f"return {LONG}", dedup=f"return {LONG}"), CUT, CUT),
        (functions(title="return '\\ud800'"), "\\ud800", "\\ud800"),
    ],
)
def test_title_and_dedup(fork: Fork, event: Json, code: str, title: str, dedup: str) -> None:
    """The fallback chain, the limit of 1,000 characters, and text that could not be encoded."""
    match = run(fork, event, code, DisplayName="Shown")
    assert (match.title, match.dedup) == (title, dedup)


def test_the_title_is_the_id_where_nothing_else_is(fork: Fork, event: Json) -> None:
    """Without title() and DisplayName."""
    assert run(fork, event, YES).title == "My.Rule"


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ("'low'", "LOW"),
        ("'DEFAULT'", "HIGH"),
        ("'default'", "HIGH"),
        ("'Urgent'", "HIGH"),
        ("None", "HIGH"),
        ("3", "HIGH"),
    ],
)
def test_severity(fork: Fork, event: Json, said: str, severity: str) -> None:
    """Any case; DEFAULT, nonsense and errors are the YAML's severity."""
    assert run(fork, event, functions(severity=f"return {said}")).severity == severity


@pytest.mark.parametrize("name", ["description", "reference", "runbook"])
@pytest.mark.parametrize(("said", "expected"), [("'said'", "said"), ("None", "yaml"), ("''", "yaml"), (LONG, CUT)])
def test_descriptive_functions(fork: Fork, event: Json, name: str, said: str, expected: str) -> None:
    """description, reference and runbook: the function's text, else the YAML's."""
    match = run(fork, event, functions(**{name: f"return {said}"}), **{name.capitalize(): "yaml"})
    assert getattr(match, name) == expected


@pytest.mark.parametrize(
    ("said", "destinations"),
    [
        ("['a', 'b']", ("a", "b")),
        ("[]", ("SKIP",)),
        ("None", ("yaml",)),
        ("['a', 'a']", ("yaml",)),
        ("'a'", ("yaml",)),
        ("[1]", ("yaml",)),
        ("[str(n) for n in range(20)]", tuple(str(n) for n in range(10))),
        ("event['user']['roles']", ("admin", "dev")),
    ],
)
def test_destinations(fork: Fork, event: Json, said: str, destinations: tuple[str, ...]) -> None:
    """An empty list is nobody; None, repeated names and wrong types are default routing; at most ten."""
    match = run(fork, event, functions(destinations=f"return {said}"), OutputIds=["yaml"])
    assert match.destinations == destinations


def test_default_routing_without_any_destination(fork: Fork, event: Json) -> None:
    """No destinations() and no OutputIds leave the choice to the configuration."""
    assert run(fork, event, YES).destinations is None


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ("{'u': event['user'], 'n': 1}", {"u": {"name": "ana", "roles": ["admin", "dev"]}, "n": 1}),
        ("event['user']", {"name": "ana", "roles": ["admin", "dev"]}),
        ("{'é': 'é'}", {"é": "é"}),
        ("{1: 2}", {"1": 2}),
        ("{'x': 1e999}", {"_error": "ValueError('Out of range float values are not JSON compliant')"}),
        ("{'x': {1}}", {"_error": "TypeError('Object of type set is not JSON serializable')"}),
        ("{}['gone']", {"_error": "KeyError('gone')"}),
        (
            "{'x': 'y' * 204800}",
            {"_error": "alert_context size is [204809] characters, bigger than maximum of [204800] characters"},
        ),
        (
            "[1]",
            {
                "_error": "FunctionReturnTypeError('detection [My.Rule] function [alert_context] returned [list],"
                " expected [Mapping]')"
            },
        ),
    ],
)
def test_alert_context(fork: Fork, event: Json, said: str, context: Json) -> None:
    """JSON of a mapping, views taken off; what is no JSON, too big or no mapping becomes `_error`."""
    match = run(fork, event, functions(alert_context=f"return {said}"))
    found = json.loads(match.context)
    if str(found.get("_error", "")).startswith("ValueError"):
        found["_error"] = found["_error"].replace(": inf", "")
    assert found == context
    assert match.context.isascii()


def test_alert_context_that_contains_itself(fork: Fork, event: Json) -> None:
    """A circle is an `_error`, not an endless text."""
    match = run(fork, event, functions(alert_context="x = {}; x['x'] = x; return x"))
    assert "_error" in json.loads(match.context)


@pytest.mark.parametrize(("said", "unique"), [("'u'", "u"), ("5", None), ("{}['x']", None)])
def test_unique(fork: Fork, event: Json, said: str, unique: str | None) -> None:
    """A text, or nothing."""
    assert run(fork, event, functions(unique=f"return {said}")).unique == unique


def test_functions_run_in_order_on_one_module(fork: Fork, event: Json) -> None:
    """rule() first, then the alert functions in their fixed order: globals carry values from one to the next,
    and on to the next event."""
    names = ("title", "description", "reference", "severity", "runbook", "destinations", "dedup", "alert_context")
    code = "CALLS = []\ndef rule(event):\n    CALLS.append('rule')\n    return True\n" + "".join(
        f"def {name}(event):\n    CALLS.append('{name}')\n    return "
        + {"alert_context": "{'calls': CALLS}", "destinations": "None", "severity": "'LOW'"}.get(name, "'x'")
        + "\n"
        for name in reversed(names)
    )
    fork.rule("My.Rule", code)
    engine = fork.engine()
    first, second = (json.loads(only(engine.evaluate(event, "Test.Log")).context)["calls"] for _ in range(2))
    assert first == ["rule", *names]
    assert second == first * 2


def test_the_event_is_shared_and_unchanged(fork: Fork, event: Json) -> None:
    """All rules of an event see the same object, whose content is the event given."""
    fork.rule("A", "def rule(event):\n    event.note = 'from A'\n    return False\n")
    fork.rule("B", "def rule(event):\n    return event.note == 'from A'\n")
    before = json.dumps(event)
    assert only(fork.engine().evaluate(event, "Test.Log")).detection_id == "B"
    assert json.dumps(event) == before


RAISING = {
    "ValueError": "raise ValueError('x')",
    "SystemExit": "import sys; sys.exit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "MemoryError": "raise MemoryError",
    "RecursionError": "return rule(event)",
    "StopIteration": "next(iter(()))",
    "Nasty": "raise Nasty()",
    "RuleTimeout": "from ingestd.errors import RuleTimeout; raise RuleTimeout",
}
NASTY = """
class Nasty(BaseException):
    def __str__(self): raise SystemExit
    __repr__ = __reduce__ = __str__
    __traceback__ = __context__ = __cause__ = property(__str__)
    def __setattr__(self, name, value): raise SystemExit
"""


@pytest.mark.parametrize("name", RAISING)
def test_whatever_a_rule_raises_is_its_own_error(fork: Fork, event: Json, name: str) -> None:
    """Any exception becomes one error match; rules before and after it match as always."""
    fork.rule("A", YES)
    fork.rule("B", f"{NASTY}\ndef rule(event):\n    {RAISING[name]}\n    return True\n", Severity="Low", Threshold=9)
    fork.rule("C", YES)
    watch = Watch()
    found = {match.detection_id: match for match in fork.engine(watch).evaluate(event, "Test.Log")}
    assert [found[item].kind for item in "ABC"] == ["rule", "error", "rule"]
    error = found["B"]
    assert (error.dedup, error.severity, error.threshold, error.row_id) == (name, "LOW", 1, event["p_row_id"])
    assert name in error.title
    assert error.error is not None
    assert "B.py" in error.error
    assert watch.running is None


def test_an_error_says_where(fork: Fork, event: Json) -> None:
    """Title, description and traceback name what happened and the file and line, through helpers too."""
    fork.helper("my_helpers", "def check(event):\n    return event['gone']\n")
    match = run(fork, event, "import my_helpers\n\ndef rule(event):\n    return my_helpers.check(event)\n")
    assert match.title == "KeyError('gone')"
    assert match.description == "'gone': my_helpers.py, line 2, in check"
    assert match.error is not None
    first, *rest = match.error.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "My.Rule.py" in rest[0]
    assert "line 4, in rule" in rest[0]
    assert match.error.endswith("KeyError('gone')")


def test_an_error_goes_where_the_match_would_have_gone(fork: Fork, event: Json) -> None:
    """destinations() is asked for an error too, and a failing one leaves the static ones."""
    code = "def rule(event):\n    return 1/0\ndef destinations(event):\n    return ['mine']\n"
    assert run(fork, event, code).destinations == ("mine",)
    code = "def rule(event):\n    return 1/0\ndef destinations(event):\n    return 1/0\n"
    assert run(fork, event, code, OutputIds=["static"]).destinations == ("static",)


def test_a_long_traceback_keeps_its_ends(fork: Fork, event: Json) -> None:
    """A deep recursion gives a bounded text that begins at the rule and ends with the exception."""
    match = run(fork, event, "def rule(event):\n    return rule(event)\n")
    assert match.error is not None
    assert len(match.error) <= 8_100
    assert "RecursionError" in match.error.splitlines()[-1]


def test_each_evaluation_is_one_window(fork: Fork, event: Json) -> None:
    """`running` names the rule during all its functions, `serial` counts windows, and between them nothing runs."""
    code = "SEEN = []\ndef rule(event):\n    SEEN.append((W.running, W.serial))\n    return True\n"
    code += "def title(event):\n    SEEN.append((W.running, W.serial))\n    return 't'\n"
    fork.rule("A", code)
    fork.rule("B", code)
    watch = Watch()
    engine = fork.engine(watch)
    for name in "AB":
        engine.detections.runnables[name].module.W = watch  # type: ignore[union-attr]
    engine.evaluate(event, "Test.Log")
    seen = {name: engine.detections.runnables[name].module.SEEN for name in "AB"}  # type: ignore[union-attr]
    assert seen == {"A": [("A", 1)] * 2, "B": [("B", 2)] * 2}
    assert watch.running is None


def test_careful_mode_names_each_rule_before_it_runs(fork: Fork, event: Json) -> None:
    """`before_call` gets the id before each window."""
    fork.rule("A", YES)
    fork.rule("B", "def rule(event):\n    return False\n")
    watch = Watch()
    called: list[tuple[str, str | None]] = []
    watch.before_call = lambda name: called.append((name, watch.running))
    fork.engine(watch).evaluate(event, "Test.Log")
    assert called == [("A", None), ("B", None)]


@pytest.mark.parametrize("where", ["rule", "title", "dedup", "alert_context"])
def test_a_rule_that_runs_out_of_time(fork: Fork, event: Json, where: str) -> None:
    """In rule() it is an error match; in an alert function the match stays, with defaults from there on. It is
    counted, and its neighbours are as always."""
    timeout = "from ingestd.errors import RuleTimeout; raise RuleTimeout"
    code = functions(**{where: timeout}) if where != "rule" else f"def rule(event):\n    {timeout}\n"
    fork.rule("A", YES)
    fork.rule("B", code)
    fork.rule("C", YES)
    engine = fork.engine()
    found = {match.detection_id: match.kind for match in engine.evaluate(event, "Test.Log")}
    assert found == {"A": "rule", "B": "error" if where == "rule" else "rule", "C": "rule"}
    assert engine.take_timeouts() == {"B": 1}
    assert engine.take_timeouts() == {}


def trace_every_line(engine: Engine, event: Json, at: int) -> list[Match]:
    """Evaluate with a RuleTimeout raised at the `at`-th line executed inside a window, as a timer might."""
    import sys

    watch = engine.watch
    count = 0

    def tracer(frame: Any, what: str, arg: Any) -> Any:
        nonlocal count
        if watch.running is not None and what == "line":
            count += 1
            if count == at:
                raise RuleTimeout
        return tracer

    gc.disable()  # what others do at a collection is no part of a window
    sys.settrace(tracer)
    try:
        return engine.evaluate(event, "Test.Log")
    finally:
        sys.settrace(None)
        gc.enable()


def test_a_timeout_at_any_line_of_a_window_hurts_one_rule_only(fork: Fork, event: Json) -> None:
    """Wherever inside the window the exception arrives, in the rule or in the engine: every rule gives exactly
    one match, at most one of them an error, and no window stays open."""
    code = functions(title="return 'T'", alert_context="return {'u': event['user']}")
    fork.rule("A", code)
    fork.rule("B", "def rule(event):\n    return event['gone']\n")
    fork.rule("C", code)
    engine = fork.engine()
    plain = [match.kind for match in engine.evaluate(event, "Test.Log")]
    assert plain == ["rule", "error", "rule"]
    for at in range(1, 400):
        matches = trace_every_line(engine, event, at)
        assert [match.detection_id for match in matches] == ["A", "B", "C"], at
        assert sum(match.kind == "error" for match in matches) <= 2, at
        assert engine.watch.running is None


def test_rules_can_be_left_out(fork: Fork, event: Json) -> None:
    """For one record by `skip`, until reload by `suspended`."""
    for name in "ABC":
        fork.rule(name, YES)
    engine = fork.engine()
    engine.suspended.add("A")
    matches = engine.evaluate(event, "Test.Log", skip=frozenset({"B"}))
    assert [match.detection_id for match in matches] == ["C"]
    assert [match.detection_id for match in engine.evaluate(event, "Test.Log")] == ["B", "C"]


def test_a_rule_that_killed_its_worker(fork: Fork, event: Json) -> None:
    """Becomes an error match made without running it."""
    fork.rule("A", "def rule(event):\n    import os; os._exit(1)\n", OutputIds=["soc"])
    match = fork.engine().killed("A", event, "Test.Log")
    assert match is not None
    assert (match.kind, match.dedup, match.row_id) == ("error", "WorkerKilled", event["p_row_id"])
    assert match.destinations == ("soc",)
    assert fork.engine().killed("Unknown", event, "Test.Log") is None


def test_overrides_are_final(fork: Fork, event: Json) -> None:
    """Severity, threshold, dedup period and destinations of the configuration win over files and functions."""
    code = functions(severity="return 'CRITICAL'", destinations="return ['theirs']")
    fork.rule("My.Rule", code, Threshold=2, OutputIds=["yaml"])
    override = Override(severity="LOW", threshold=7, dedup_minutes=30, destinations=("dev",))
    match = only(fork.engine(overrides={"My.Rule": override}).evaluate(event, "Test.Log"))
    assert (match.severity, match.threshold, match.dedup_minutes) == ("LOW", 7, 30)
    assert match.destinations == ("dev",)
    assert match.version != only(fork.engine().evaluate(event, "Test.Log")).version


def test_filters_come_before_the_rule(fork: Fork, event: Json) -> None:
    """InlineFilters and the configuration's filter both have to hold; a filter that fails is the rule's error."""
    fork.rule("A", YES, InlineFilters=[{"KeyPath": "user.name", "Condition": "Equals", "Value": "ana"}])
    assert len(fork.engine().evaluate(event, "Test.Log")) == 1
    config = Override(filter=({"KeyPath": "name", "Condition": "DoesNotEqual", "Value": "login"},))
    assert fork.engine(overrides={"A": config}).evaluate(event, "Test.Log") == []


def test_standard_fields_in_rules(fork: Fork, event: Json) -> None:
    """event.udm reads the data model of the event's log type, by path and by method."""
    fork.write("data_models/m.py", "def who(event):\n    return event['user']['name'].upper()\n")
    mappings = [{"Name": "actor_user", "Method": "who"}, {"Name": "first_role", "Path": "$.user.name"}]
    model = {"AnalysisType": "datamodel", "DataModelID": "M", "LogTypes": ["Test.Log"], "Enabled": True}
    fork.item("data_models/m.yml", model | {"Filename": "m.py", "Mappings": mappings})
    code = functions(title="return event.udm('actor_user') + event.udm('first_role') + event.udm_path('first_role')")
    assert run(fork, event, code).title == "ANAanauser.name"


# --- policies -----------------------------------------------------------------------------------------------


def _snapshot(**resource: Any) -> Json:
    return {
        "resource_id": "r-1",
        "resource_type": "T",
        "resource": resource,
        "p_row_id": "row",
        "p_event_time": "2026-01-02 03:04:05",
        "p_log_type": "Ingestd.Resource",
    }


def _policy(fork: Fork, name: str, code: str, **keys: Any) -> None:
    fork.rule(name, code, AnalysisType="policy", ResourceTypes=["T"], **keys)


def test_every_policy_says_what_it_thinks_of_a_resource(fork: Fork) -> None:
    """Those that say False match, those that fail are errors, each with the resource; all verdicts are told."""
    _policy(fork, "Fails", "def policy(resource):\n    return resource['on']\n")
    _policy(fork, "Passes", "def policy(resource):\n    return not resource['on']\n")
    _policy(fork, "Raises", "def policy(resource):\n    return resource['gone']\n")
    _policy(fork, "Odd", "def policy(resource):\n    return None\n")
    fork.rule("Elsewhere", YES.replace("rule", "policy"), AnalysisType="policy", ResourceTypes=["U"])
    matches, checked = fork.engine().check(_snapshot(on=False))
    assert [(m.kind, m.detection_id, m.resource, m.log_type, m.row_id) for m in matches] == [
        ("policy", "Fails", "r-1", "T", "row"),
        ("error", "Odd", "r-1", "T", "row"),
        ("error", "Raises", "r-1", "T", "row"),
    ]
    assert checked.verdicts == {"Fails": "fail", "Passes": "pass", "Raises": "error", "Odd": "error"}
    assert (checked.resource_id, checked.resource_type, checked.row_id) == ("r-1", "T", "row")


def test_a_policy_gets_a_plain_copy_of_the_snapshot(fork: Fork) -> None:
    """What it changes reaches neither another policy nor the row."""
    _policy(
        fork, "Changes", "def policy(resource):\n    resource['tags'].clear()\n    return type(resource) is dict\n"
    )
    _policy(fork, "Reads", "def policy(resource):\n    return resource['tags'] == ['a']\n")
    event = _snapshot(tags=["a"])
    assert fork.engine().check(event)[0] == []
    assert event["resource"] == {"tags": ["a"]}


def test_a_policy_alerts_per_resource_unless_it_says_otherwise(fork: Fork) -> None:
    """The resource is in dedup string and context where the policy has no function for them."""
    no = "def policy(resource):\n    return False\n"
    _policy(fork, "Plain", no + "def title(resource):\n    return 'the same for all'\n")
    _policy(fork, "Says", no + "def dedup(resource):\n    return 'd'\ndef alert_context(resource):\n    return {}\n")
    plain, says = fork.engine().check(_snapshot())[0]
    assert (plain.dedup, json.loads(plain.context)) == ("r-1", {"resource_id": "r-1", "resource_type": "T"})
    assert (says.dedup, says.context) == ("d", "{}")


def test_a_suppressed_resource_violates_a_policy_without_an_alert(fork: Fork) -> None:
    """By its id or a pattern; its verdict stays what it is."""
    no = "def policy(resource):\n    return False\n"
    _policy(fork, "Loud", no, Suppressions=["r-2", "s-*"])
    _policy(fork, "Named", no, Suppressions=["r-1"])
    _policy(fork, "Pattern", no, Suppressions=["x", "r-*"])
    matches, checked = fork.engine().check(_snapshot())
    assert {match.detection_id: match.creates_alert for match in matches} == {
        "Loud": True,
        "Named": False,
        "Pattern": False,
    }
    assert set(checked.verdicts.values()) == {"fail"}


def test_policies_that_do_not_run_have_no_opinion(fork: Fork) -> None:
    """Suspended and skipped ones: neither compliant nor violated."""
    for name in ("A", "B"):
        _policy(fork, name, "def policy(resource):\n    return False\n")
    engine = fork.engine()
    engine.suspended.add("A")
    matches, checked = engine.check(_snapshot(), frozenset({"B"}))
    assert matches == []
    assert checked.verdicts == {"A": "error", "B": "error"}
