"""Detections and filters written in YAML: each condition, key specifier and combinator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.detections import conditions
from ingestd.detections.conditions import ConditionError, compile_all
from ingestd.detections.event import PantherEvent
from tests.detections.conftest import Fork

EVENT: dict[str, Any] = {
    "status": "success", "count": 5, "ok": True, "empty": "", "none": None, "nothing": [], "ip": "10.1.2.3",
    "public": "8.8.8.8", "six": "2001:db8::1", "range": "10.0.0.0/8", "names": ["ana", "bob"], "other": "SUCCESS",
    "entity": {"name": "Pluto", "moons": [{"name": "Charon", "year": 1978}, {"name": "Nix", "year": 2005}]},
    "p_enrichment": {"table": {"ip": {"owner": "us"}}},
}  # fmt: skip


def holds(*expressions: Any) -> bool:
    """Whether the event above meets the expressions."""
    return compile_all(expressions)(PantherEvent(EVENT))


@pytest.mark.parametrize(
    ("key", "condition", "value", "expected"),
    [
        ("status", "Equals", "success", True),
        ("status", "Equals", "SUCCESS", False),
        ("status", "IEquals", "SUCCESS", True),
        ("status", "DoesNotEqual", "success", False),
        ("count", "Equals", 5, True),
        ("count", "Equals", "5", False),
        ("ok", "Equals", True, True),
        ("ok", "Equals", 1, False),
        ("status", "StartsWith", "suc", True),
        ("status", "IStartsWith", "SUC", True),
        ("status", "DoesNotStartWith", "suc", False),
        ("status", "EndsWith", "cess", True),
        ("status", "IEndsWith", "CESS", True),
        ("status", "DoesNotEndWith", "x", True),
        ("status", "Contains", "cce", True),
        ("status", "IContains", "CCE", True),
        ("status", "DoesNotContain", "cce", False),
        ("names", "Contains", "ana", True),
        ("names", "Has", "ana", True),
        ("names", "DoesNotHave", "ana", False),
        ("count", "IsGreaterThan", 4, True),
        ("count", "IsGreaterThan", 5, False),
        ("count", "IsGreaterThanOrEquals", 5, True),
        ("count", "IsGreaterThanOrEqual", 5, True),
        ("count", "IsGreaterThanOrEqualTo", 5, True),
        ("count", "IsLessThan", 5, False),
        ("count", "IsLessThanOrEquals", 5, True),
        ("count", "IsLessThanOrEqual", 5, True),
        ("status", "IsGreaterThan", 4, False),
        ("ip", "IsIPAddressInCIDR", "10.0.0.0/8", True),
        ("ip", "IsIPAddressInCIDR", "192.168.0.0/16", False),
        ("status", "IsIPAddressInCIDR", "10.0.0.0/8", False),
    ],
)
def test_a_value(key: str, condition: str, value: Any, expected: bool) -> None:
    """One key against one value; a comparison that makes no sense is false."""
    assert holds({"Key": key, "Condition": condition, "Value": value}) is expected


@pytest.mark.parametrize("condition", list(conditions._COMPARISONS))
def test_a_missing_key_is_false(condition: str) -> None:
    """For every comparison."""
    value: Any = ["a"] if condition == "IsIn" else "10.0.0.0/8"
    assert holds({"Key": "missing", "Condition": condition, "Value": value}) is False


@pytest.mark.parametrize("condition", list(conditions._NEGATIONS))
def test_a_missing_key_makes_a_negation_true(condition: str) -> None:
    """For every negated comparison."""
    value: Any = ["a"] if condition == "IsNotIn" else "10.0.0.0/8"
    assert holds({"Key": "missing", "Condition": condition, "Value": value}) is True


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("IsIn", ["success", "x"], True),
        ("IsIn", ["x"], False),
        ("IsNotIn", ["success"], False),
        ("IsNotIn", [], True),
    ],
)
def test_a_list_of_values(condition: str, values: list[str], expected: bool) -> None:
    """Membership."""
    assert holds({"Key": "status", "Condition": condition, "Values": values}) is expected


STATES = {
    "Exists": {"status", "empty", "none", "nothing"},
    "DoesNotExist": {"missing"},
    "IsNull": {"none"},
    "IsNotNull": {"status", "empty", "nothing"},
    "IsNullOrEmpty": {"empty", "none", "nothing", "missing"},
    "IsNotNullOrEmpty": {"status"},
}


@pytest.mark.parametrize("condition", STATES)
def test_presence(condition: str) -> None:
    """Missing, null and empty are told apart."""
    keys = {"status", "empty", "none", "nothing", "missing"}
    assert {key for key in keys if holds({"Key": key, "Condition": condition})} == STATES[condition]


ADDRESSES = {
    "IsIPAddress": {"ip", "public", "six"},
    "IsIPv4Address": {"ip", "public"},
    "IsIPv6Address": {"six"},
    "IsIPAddressPublic": {"public"},
    "IsIPAddressPrivate": {"ip", "six"},
}


@pytest.mark.parametrize("condition", ADDRESSES)
def test_addresses(condition: str) -> None:
    """Families and ranges; what is no address is none of them."""
    keys = {"ip", "public", "six", "status", "count", "missing"}
    assert {key for key in keys if holds({"Key": key, "Condition": condition})} == ADDRESSES[condition]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"Key": "STATUS"}, "success"),
        ({"DeepKey": ["entity", "name"]}, "Pluto"),
        ({"KeyPath": "entity.name"}, "Pluto"),
        ({"KeyPath": "entity.moons[1].name"}, "Nix"),
        ({"KeyPath": "entity.moons[-1].year"}, 2005),
        ({"Enrichment": {"Table": "table", "Selector": "ip", "FieldPath": "owner"}}, "us"),
    ],
)
def test_key_specifiers(spec: dict[str, Any], value: Any) -> None:
    """Key, DeepKey, KeyPath with indexes, Enrichment."""
    assert holds({**spec, "Condition": "Equals", "Value": value})


def test_a_path_through_all_elements() -> None:
    """[*] gives the list of what the elements have."""
    assert holds({"KeyPath": "entity.moons[*].name", "Condition": "Has", "Value": "Nix"})
    assert not holds({"KeyPath": "entity.moons[*].gone", "Condition": "IsNotNullOrEmpty"})
    assert not holds({"KeyPath": "entity.moons[7].name", "Condition": "Exists"})
    assert not holds({"KeyPath": "status[0]", "Condition": "Exists"})


def test_two_keys_are_compared() -> None:
    """Values with two key specifiers compares them with each other."""
    both = [{"Key": "status"}, {"Key": "other"}]
    assert not holds({"Condition": "Equals", "Values": both})
    assert holds({"Condition": "IEquals", "Values": both})
    assert holds({"Condition": "DoesNotEqual", "Values": [{"Key": "status"}, {"Key": "missing"}]})
    assert holds({"Condition": "IsIPAddressInCIDR", "Values": [{"Key": "ip"}, {"Key": "range"}]})
    assert not holds({"Condition": "IsIPAddressInCIDR", "Values": [{"Key": "ip"}, {"Key": "status"}]})


@pytest.mark.parametrize(
    ("condition", "year", "expected"),
    [
        ("AnyElement", 2000, True), ("AllElements", 2000, False), ("NoElement", 2000, False),
        ("OnlyOneElement", 2000, True), ("AllElements", 1900, True), ("NoElement", 3000, True),
    ],
)  # fmt: skip
def test_elements_of_a_list(condition: str, year: int, expected: bool) -> None:
    """All, any, none or exactly one element meets the expressions."""
    inner = {"Key": "year", "Condition": "IsGreaterThan", "Value": year}
    assert holds({"KeyPath": "entity.moons", "Condition": condition, "Expressions": [inner]}) is expected


def test_elements_that_are_no_mappings() -> None:
    """An expression without a key looks at the element itself."""
    inner = {"Condition": "StartsWith", "Value": "a"}
    assert holds({"Key": "names", "Condition": "AnyElement", "Expressions": [inner]})
    assert not holds({"Key": "names", "Condition": "AllElements", "Expressions": [inner]})


YES = {"Condition": "AlwaysTrue"}
NO = {"Condition": "AlwaysFalse"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"All": [YES, YES]}, True), ({"All": [YES, NO]}, False), ({"Any": [NO, YES]}, True),
        ({"Any": [NO, NO]}, False),
        ({"OnlyOne": [YES, NO]}, True), ({"OnlyOne": [YES, YES]}, False), ({"None": [NO, NO]}, True),
        ({"None": [NO, YES]}, False), ({"All": []}, True), ({"Any": []}, True), ({"All": [{"Any": [NO, YES]}]}, True),
    ],
)  # fmt: skip
def test_combinators(expression: Any, expected: bool) -> None:
    """They nest; an empty one is true."""
    assert holds(expression) is expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ({"Key": "a", "Condition": "Equal", "Value": 1}, "unknown Condition 'Equal', did you mean 'Equals'"),
        ({"Key": "a", "Condition": "Equals"}, "Equals needs a Value"),
        ({"Key": "a", "DeepKey": ["b"], "Condition": "Exists"}, "only one of Key and DeepKey"),
        ({"KeyPath": "a[x]", "Condition": "Exists"}, "malformed at 'a[x]'"),
        ({"Key": "a", "Condition": "IsIPAddressInCIDR", "Value": "10.0.0.0/99"}, "10.0.0.0/99"),
        ({"Key": "a", "Condition": "AnyElement"}, "AnyElement needs Expressions"),
        ("text", "must be a mapping"),
        ({"All": "x"}, "All needs a list"),
    ],
)
def test_malformed_expressions(expression: Any, said: str) -> None:
    """Are refused when compiled, with what is wrong."""
    with pytest.raises(ConditionError) as caught:
        compile_all([expression])
    assert said in str(caught.value)


def test_expressions_cannot_nest_without_end() -> None:
    """A bound, not a crash."""
    expression: Any = YES
    for _ in range(100):
        expression = {"All": [expression]}
    with pytest.raises(ConditionError, match="nested"):
        compile_all([expression])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.1", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=6,
)
SPECS = [{"Key": "a"}, {"KeyPath": "a[*].b"}]
WITH_VALUE = [*conditions._COMPARISONS, *conditions._NEGATIONS, *conditions._SPELLINGS]


@settings(max_examples=25)
@given(event=st.dictionaries(st.sampled_from(["a", "b"]), JSON), wanted=JSON)
def test_no_event_makes_a_condition_raise(event: Any, wanted: Any) -> None:
    """Whatever an event holds, every condition is True or False: filters never fail."""
    view = PantherEvent(event)
    for spec in SPECS:
        for name in WITH_VALUE:
            value = "10.0.0.0/8" if "CIDR" in name else wanted
            assert compile_all([{**spec, "Condition": name, "Value": value}])(view) in (True, False)
            assert compile_all([{"Condition": name, "Values": [spec, {"Key": "b"}]}])(view) in (True, False)
        for name in conditions._STATES:
            assert compile_all([{**spec, "Condition": name}])(view) in (True, False)


def test_a_detection_written_in_yaml(fork: Fork) -> None:
    """Detection, AlertTitle, AlertContext, GroupBy and DynamicSeverities take the place of code."""
    fork.rule(
        "Yaml.Rule",
        Detection=[{"Key": "status", "Condition": "Equals", "Value": "success"}],
        AlertTitle="{entity.name} by {missing} and {names}",
        AlertContext=[
            {"KeyName": "planet", "KeyValue": {"KeyPath": "entity.name"}},
            {"KeyName": "gone", "KeyValue": {"Key": "missing"}},
        ],
        GroupBy=[{"Key": "status"}, {"Key": "count"}],
        DynamicSeverities=[
            {"ChangeTo": "Low", "Conditions": [NO]},
            {"ChangeTo": "Critical", "Conditions": [YES]},
            {"ChangeTo": "Info", "Conditions": [YES]},
        ],
    )
    (match,) = fork.engine().evaluate(EVENT, "Test.Log")
    assert match.title == "Pluto by  and ['ana', 'bob']"
    assert json.loads(match.context) == {"planet": "Pluto", "gone": None}
    assert match.dedup == "success:5"
    assert match.severity == "CRITICAL"
    assert fork.engine().evaluate({"status": "x"}, "Test.Log") == []
