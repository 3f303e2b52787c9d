"""Correlation rules: groups, sequences, absence, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest

from ingestd.detections.correlation import Finding, find
from ingestd.detections.correlation_format import CorrelationError, parse, sightings_of
from ingestd.errors import ConfigError
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


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
    assert run(group(), A={"ana": [5]}, B={"ana": [0], "bob": [1]}) == Finding(values={"0": "ana"}, start=0, end=300)
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
