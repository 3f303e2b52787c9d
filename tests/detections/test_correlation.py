"""Correlation rules: groups, sequences, absence, and how they are read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ingestd.detections.correlation.findings import find, findings
from ingestd.detections.correlation.joins import values, with_joins
from ingestd.detections.correlation.model import Finding, Sighting
from ingestd.detections.correlation.syntax import CorrelationError, parse, sightings_of
from ingestd.errors import ConfigError
from ingestd.model import Match
from tests.detections.conftest import EVENT, Fork

YES = "def rule(event):\n    return True\n"


SAYS = {"Name": "one", "ExpectedResult": False}


def group(*, steps: Any = None, **keys: Any) -> list[Any]:
    """A group of A and B that must share a user."""
    steps = steps or [{"ID": "A", "RuleID": "Rule.A"}, {"ID": "B", "RuleID": "Rule.B"}]
    criteria = {"user": [{"GroupID": step["ID"], "Match": "user"} for step in steps]}
    return [{"Group": steps, "MatchCriteria": criteria, "LookbackWindowMinutes": 60, **keys}]


def sequence(*hops: dict[str, Any], **keys: Any) -> list[Any]:
    """A sequence of A, B and C."""
    steps = [{"ID": name, "RuleID": f"Rule.{name}"} for name in "ABC"]
    return [{"Sequence": steps, "Transitions": list(hops), "LookbackWindowMinutes": 60, **keys}]


def run(detection: Any, **outputs: Any) -> Finding | None:
    """Find in sightings given per step as {value of user: [minutes]}."""
    given = [{"ID": name, "Matches": {"user": values}} for name, values in outputs.items()]
    return find(parse(detection)[0], sightings_of(given))


def test_a_group_needs_all_steps_with_one_value() -> None:
    """In any order, within the look-back window."""
    found = run(group(), A={"ana": [5]}, B={"ana": [0], "bob": [1]})
    assert found is not None
    assert (found.values, found.start, found.end) == ({"0": "ana"}, 0, 300)
    assert [(one.step, one.time) for one in found.evidence] == [("B", 0), ("A", 300)]
    assert run(group(), A={"ana": [0]}, B={"bob": [1]}) is None
    assert run(group(), A={"ana": [0]}) is None
    assert run(group(), A={"ana": [0]}, B={"ana": [60]}) is not None
    assert run(group(), A={"ana": [0]}, B={"ana": [61]}) is None


def test_a_group_without_criteria_is_any_co_occurrence() -> None:
    """The steps need not share anything."""
    detection = group()
    del detection[0]["MatchCriteria"]
    assert run(detection, A={"ana": [0]}, B={"bob": [1]}) is not None
    assert run(detection, A={"ana": [0]}) is None


def test_counts() -> None:
    """MinMatchCount and MaxMatchCount hold within one window."""
    steps = [{"ID": "A", "RuleID": "R", "MinMatchCount": 2, "MaxMatchCount": 3}, {"ID": "B", "RuleID": "S"}]
    assert run(group(steps=steps), A={"ana": [0]}, B={"ana": [1]}) is None
    assert run(group(steps=steps), A={"ana": [0, 2]}, B={"ana": [1]}) is not None
    assert run(group(steps=steps), A={"ana": [0, 90]}, B={"ana": [1]}) is None
    assert run(group(steps=steps), A={"ana": [0, 1, 2, 3]}, B={"ana": [0]}) is None


def test_absence() -> None:
    """A step that must be absent must not lie in the window, before the others or after them."""
    steps = [{"ID": "A", "RuleID": "R"}, {"ID": "B", "RuleID": "S", "Absence": True}]
    assert run(group(steps=steps), A={"ana": [10]}) is not None
    assert run(group(steps=steps), A={"ana": [10]}, B={"bob": [10]}) is not None
    assert run(group(steps=steps), A={"ana": [10]}, B={"ana": [0]}) is None
    assert run(group(steps=steps), A={"ana": [10]}, B={"ana": [20]}) is None
    assert run(group(steps=steps), A={"ana": [100]}, B={"ana": [0]}) is not None


def test_values_are_compared_as_text() -> None:
    """A number and its text are one value."""
    assert run(group(), A={5: [0]}, B={"5": [1]}) is not None


def test_a_sequence_needs_its_order_and_its_times() -> None:
    """Each hop within its time frame."""
    hops: list[dict[str, Any]] = [{"From": "A", "To": "B", "WithinTimeFrameMinutes": 10}, {"From": "B", "To": "C"}]
    detection = sequence(*({**hop, "Match": [{"On": "user"}]} for hop in hops))
    assert run(detection, A={"ana": [0]}, B={"ana": [5]}, C={"ana": [40]}) is not None
    assert run(detection, A={"ana": [5]}, B={"ana": [0]}, C={"ana": [40]}) is None
    assert run(detection, A={"ana": [0]}, B={"ana": [11]}, C={"ana": [40]}) is None
    assert run(detection, A={"ana": [0]}, B={"ana": [5]}, C={"ana": [61]}) is None
    assert run(detection, A={"ana": [0]}, B={"bob": [5]}, C={"ana": [40]}) is None
    assert run(detection, A={"ana": [0, 30]}, B={"ana": [35]}, C={"ana": [40]}) is not None


def test_times_in_tests_may_be_timestamps() -> None:
    """RFC 3339, beside minutes."""
    assert run(group(), A={"a": ["2024-06-01T10:00:00Z"]}, B={"a": ["2024-06-01T12:30:00+02:00"]}) is not None
    assert run(group(), A={"a": ["2024-06-01T10:00:00Z"]}, B={"a": ["2024-06-01T12:30:00Z"]}) is None


@pytest.mark.parametrize(
    ("detection", "said"),
    [
        ({}, "must be a list"),
        ([{}], "either Group or Sequence"),
        ([{"Group": "x"}], "must be a list"),
        ([{"Group": [{"ID": "A"}]}], "needs ID and RuleID"),
        ([{"Group": [{"ID": "A", "RuleID": "r"}] * 2}], "two steps have one ID"),
        (group(LookbackWindowMinutes=0), "number of minutes above 0"),
        (group(MatchCriteria={"u": [{"GroupID": "X", "Match": "user"}]}), "needs GroupID of a step"),
        (sequence({"From": "A", "To": "X"}), "needs From and To"),
        (sequence({"From": "A", "To": "B"}, {"From": "B", "To": "A"}), "come back to the step 'A'"),
        (sequence(Transitions="A"), "must be a list"),
        (group(steps=[{"ID": "A", "RuleID": "R", "MinMatchCount": "many"}]), "must be a whole number above 0"),
        (group(LookbackWindowMinutes=float("nan")), "number of minutes above 0"),
        (group(LookbackWindowMinutes=float("inf")), "at most 5270400, not inf"),
        (group(MatchCriteria={"u": []}), "needs GroupID of a step"),
        (sequence({"From": "A", "To": "B"}), "do not lead from the step 'A' to 'C'"),
        (sequence({"From": "A", "To": "B"}, {"From": "A", "To": "C"}), "a second transition from the step 'A'"),
        (group(Schedule="daily"), "must be a mapping with RateMinutes"),
        (group(Schedule={"RateMinutes": "daily"}), "number of minutes above 0"),
        (sequence({"From": "A", "To": "B", "Match": [{}]}), "needs On, or From and To"),
    ],
)
def test_malformed_correlation_rules(detection: Any, said: str) -> None:
    """Are refused with what is wrong."""
    with pytest.raises(CorrelationError, match=said):
        parse(detection)


def test_steps_must_name_detections(fork: Fork) -> None:
    """A step that waits for an id that does not exist would never be met."""
    fork.rule("Rule.A", YES)
    fork.rule("C", AnalysisType="correlation_rule", Detection=group())
    with pytest.raises(ConfigError, match=r"step 'B' waits for 'Rule\.B', which does not exist"):
        fork.load()
    fork.rule("Rule.B", YES)
    loaded = fork.load()
    assert loaded.correlations["C"][0].detection_ids == {"Rule.A", "Rule.B"}


def sighting(minutes: float, user: str, *, is_new: bool = True) -> Sighting:
    """A match by a user."""
    return Sighting(time=60.0 * minutes, fields={"user": [user]}, row_id=f"{user}@{minutes}", is_new=is_new)


def all_findings(detection: Any, **steps: list[Sighting]) -> list[tuple[str, float, float]]:
    """(value, first minute, last minute) of each finding."""
    found = findings(parse(detection)[0], steps)
    return [(next(iter(one.values.values()), ""), one.start / 60, one.end / 60) for one in found]


def test_steps_wait_for_what_has_matches(fork: Fork) -> None:
    """A policy, or a helper, is no step."""
    fork.rule("Rule.A", YES)
    fork.rule("Rule.B", YES.replace("rule(event)", "policy(resource)"), AnalysisType="policy", ResourceTypes=["T"])
    fork.rule("C", AnalysisType="correlation_rule", Detection=group())
    with pytest.raises(
        ConfigError, match=r"C\.yml:\d+: Detection\.0\.Group\.1: step 'B' waits for 'Rule\.B', which is a p"
    ):
        fork.load()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("x", r"Tests\.0\.RuleOutputs\.0: needs ID of a step"),
        ({"ID": "a", "Matches": {}}, r"RuleOutputs\.0\.ID: no step has the ID 'a'"),
        ({"ID": "A", "Matches": ["user"]}, "must be a mapping of fields"),
        ({"ID": "A", "Matches": {"user": ["ana"]}}, r"Matches\.user: must be a mapping of values"),
        ({"ID": "A", "Matches": {"user": {"ana": 3}}}, "'ana' needs a list of times, not 3"),
        ({"ID": "A", "Matches": {"user": {"ana": ["soon"]}}}, "'soon' is no time"),
        ({"ID": "A", "Matches": {"user": {"ana": [float("inf")]}}}, "inf is no time"),
    ],
)
def test_what_a_test_cannot_mean_is_told(fork: Fork, output: Any, said: str) -> None:
    """A step that does not exist has seen nothing, so that the test would pass for the wrong reason."""
    fork.rule("Rule.A", YES)
    fork.rule("Rule.B", YES)
    tests = [{**SAYS, "RuleOutputs": [output]}]
    fork.rule("C", AnalysisType="correlation_rule", Detection=group(), Tests=tests)
    with pytest.raises(ConfigError, match=rf"C\.yml:\d+: .*{said}"):
        fork.load(keep_tests=True)


def test_each_value_and_each_window_is_a_finding() -> None:
    """Windows of one value share no match."""
    a = [sighting(0, "ana"), sighting(0, "bob"), sighting(500, "ana"), sighting(510, "ana")]
    b = [sighting(5, "ana"), sighting(7, "bob"), sighting(505, "ana")]
    assert all_findings(group(), A=a, B=b) == [("ana", 0, 5), ("ana", 500, 510), ("bob", 0, 7)]


def test_a_group_is_found_again_only_with_something_new() -> None:
    """What was looked at before counts, and is no finding by itself."""
    old = [sighting(0, "ana", is_new=False)]
    assert all_findings(group(), A=old, B=[sighting(5, "ana", is_new=False)]) == []
    assert all_findings(group(), A=old, B=[sighting(5, "ana")]) == [("ana", 0, 5)]


def test_each_start_of_a_sequence_may_be_a_finding() -> None:
    """The chain that is complete first; a start inside of it, with the same values, is part of it."""
    hops = ({"From": name, "To": to, "Match": [{"On": "user"}]} for name, to in ("AB", "BC"))
    detection = sequence(*hops)
    a = [sighting(0, "ana"), sighting(1, "ana"), sighting(2, "bob"), sighting(200, "ana")]
    b = [sighting(3, "ana"), sighting(4, "bob"), sighting(201, "ana")]
    c = [sighting(5, "ana"), sighting(6, "bob"), sighting(202, "ana"), sighting(203, "ana")]
    assert all_findings(detection, A=a, B=b, C=c) == [("ana", 0, 5), ("bob", 2, 6), ("ana", 200, 202)]


def test_a_sequence_is_found_again_only_with_something_new() -> None:
    """Of several ways on, one that has something new is taken."""
    hops = ({"From": name, "To": to, "Match": [{"On": "user"}]} for name, to in ("AB", "BC"))
    detection = sequence(*hops)
    old = {name: [sighting(minute, "ana", is_new=False)] for minute, name in enumerate("ABC")}
    assert all_findings(detection, **old) == []
    assert all_findings(detection, **{**old, "C": [*old["C"], sighting(9, "ana")]}) == [("ana", 0, 9)]


def test_many_ways_along_a_sequence_take_no_time() -> None:
    """Thousands of matches of one user at every step, and no end that fits."""
    hops = (
        {"From": name, "To": to, "WithinTimeFrameMinutes": 9, "Match": [{"On": "user"}]} for name, to in ("AB", "BC")
    )
    many = [sighting(number / 100, "ana") for number in range(500)]
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1

    steps = {"A": many, "B": many, "C": [sighting(100, "ana")]}
    assert list(findings(parse(sequence(*hops))[0], steps, count)) == []
    assert looks <= 2 * len(many)


def test_several_criteria_are_met_by_the_same_matches() -> None:
    """Each by a value of its own; every combination is a finding."""
    both = [{"GroupID": name, "Match": field} for name in "AB" for field in ("user", "host")]
    criteria = {"u": both[::2], "h": both[1::2]}
    [parsed] = parse(group(MatchCriteria=criteria))

    def seen(step: str, *pairs: str) -> list[Sighting]:
        named = [dict(zip(("user", "host"), ([part] for part in pair.split("@")), strict=True)) for pair in pairs]
        return [Sighting(time=number, fields=fields, row_id=f"{step}{number}") for number, fields in enumerate(named)]

    apart = {"A": seen("A", "ana@one", "bob@two"), "B": seen("B", "ana@two", "bob@one")}
    assert list(findings(parsed, apart)) == []
    together = {"A": seen("A", "ana@one", "bob@two"), "B": seen("B", "bob@two", "ana@one")}
    assert [one.values for one in findings(parsed, together)] == [
        {"0": "ana", "1": "one"},
        {"0": "bob", "1": "two"},
    ]


def test_what_came_late_on_another_way_is_nothing_new_for_a_chain() -> None:
    """A sequence that was found is not found again because of a match that leads nowhere."""
    detection = sequence(
        {"From": "A", "To": "B", "Match": [{"On": "user"}]}, {"From": "B", "To": "C", "Match": [{"On": "host"}]}
    )
    [parsed] = parse(detection)

    def one(time: float, *, is_new: bool = False, **fields: str) -> Sighting:
        return Sighting(time=time, fields={name: [value] for name, value in fields.items()}, is_new=is_new)

    known = {"A": [one(0, user="ana")], "B": [one(20, user="ana", host="h")], "C": [one(30, host="h")]}
    assert list(findings(parsed, known)) == []
    late = {**known, "B": [*known["B"], one(10, is_new=True, user="ana", host="elsewhere")]}
    assert list(findings(parsed, late)) == []


@pytest.mark.parametrize(
    ("raw", "joined"),
    [('"\\ud800"', ("\ufffd",)), ('{"a": "\\udfff", "b": 1}', ()), (f"{'[' * 500}1{']' * 500}", ())],
)
def test_matches_of_odd_events_are_joined_all_the_same(fork: Fork, raw: str, joined: tuple[str, ...]) -> None:
    """Half a surrogate pair in what a rule read from a text, or lists without end: neither keeps a match from being
    made."""
    code = "import json\ndef rule(event):\n    return True\ndef alert_context(event):\n"
    fork.rule("Rule.A", code + "    return {'who': json.loads(event['raw'])}\n")
    fork.rule("Rule.B", YES)
    criteria = {
        "u": [{"GroupID": name, "Match": field} for name, field in (("A", "p_alert_context.who"), ("B", "l"))]
    }
    fork.rule("C", AnalysisType="correlation_rule", Detection=group(MatchCriteria=criteria))
    nested: Any = "x"
    for _ in range(900):
        nested = [nested]
    matches = fork.engine().evaluate({**EVENT, "raw": raw, "l": nested}, "Test.Log")
    assert [match.joins for match in matches] == [{"p_alert_context.who": joined}, {"l": ("x",)}]
    assert msgspec.msgpack.encode(matches)


def test_what_is_joined_by_is_kept_of_a_match() -> None:
    """Dotted fields of the event and of the alert's context, each element of a list, with bounds."""
    event = {"user": {"Name": "ana"}, "emails": ["a@x", "b@x"], "a.b": 1, "long": "x" * 1_000, "gone": None}
    assert values(event, "user.name") == ("ana",)
    assert values(event, "emails") == ("a@x", "b@x")
    assert values(event, "a.b") == ("1",)
    assert values(event, "gone") == values(event, "user") == values(event, "no.such") == ()
    assert len(values(event, "long")[0]) < 300
    assert len(values({"many": list(range(1_000))}, "many")) == 100
    match = Match(
        kind="rule", detection_id="A", row_id="r", log_type="T", event_time="", dedup="", title="", severity="INFO",
        context='{"who": ["ana", "bob"]}',
    )  # fmt: skip
    joined = with_joins(match, ("emails", "p_alert_context.who"), event)
    assert joined.joins == {"emails": ("a@x", "b@x"), "p_alert_context.who": ("ana", "bob")}


def test_a_group_has_no_order() -> None:
    """Whatever `EventEvaluationOrder` says: those who write it expect matches in any order to be found."""
    detection = group(EventEvaluationOrder="Chronological")
    assert run(detection, A={"ana": [5]}, B={"ana": [0]}) is not None
