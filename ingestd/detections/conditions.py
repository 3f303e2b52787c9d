"""Match expressions: the YAML language of simple detections and inline filters, compiled to functions.

A missing key makes a condition false, and its negation true. The rest is Python's comparison, where a
comparison that makes no sense (a number with a text) is false.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

from ingestd.detections.event import PantherEvent
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, thaw
from ingestd.detections.loading.items import did_you_mean

Getter = Callable[[Any], Any]
"""Event or list element to a value, or `Absent`."""
Test = Callable[[Any], bool]
Comparison = Callable[[Any, Any], bool]

_KEY_SPECIFIERS = ("Key", "DeepKey", "KeyPath", "Enrichment")
_COMBINATORS = ("All", "Any", "OnlyOne", "None")
_MAX_DEPTH = 50


class ConditionError(ValueError):
    """The expression is malformed."""


def compile_all(expressions: Sequence[Any]) -> Test:
    """True for an event that meets every expression."""
    return _combine("All", expressions, 0)


# --- values of an event


def getter(spec: Mapping[str, Any]) -> Getter | None:
    """The function that finds the value that `Key`, `DeepKey`, `KeyPath` or `Enrichment` in `spec` names; None
    if there is none of them."""
    given = [name for name in _KEY_SPECIFIERS if name in spec]
    if len(given) > 1:
        raise ConditionError(f"only one of {' and '.join(given)} can be given")
    if not given:
        return None
    value = spec[given[0]]
    match given[0], value:
        case "Key", str():
            return _path([value])
        case "DeepKey", list():
            return _path([str(key) for key in value])
        case "KeyPath", str():
            return _path(_split(value))
        case "Enrichment", {"Table": str(table), "Selector": str(selector)}:
            return _path(["p_enrichment", table, selector, *_split(str(value.get("FieldPath") or ""))])
    raise ConditionError(f"{given[0]}: {brief(value)} is malformed")


def _split(path: str) -> list[str | int | None]:
    """`a.b[*].c[2]` to keys, indexes, and None for all elements."""
    steps: list[str | int | None] = []
    for part in path.split(".") if path else ():
        match = re.fullmatch(r"([^\[\]]*)((?:\[(?:\*|-?\d+)\])*)", part)
        if match is None or (not match[1] and not match[2]):
            raise ConditionError(f"KeyPath {path!r} is malformed at {part!r}")
        if match[1]:
            steps.append(match[1])
        for index in re.findall(r"\[(\*|-?\d+)\]", match[2]):
            steps.append(None if index == "*" else int(index))
    return steps


def _path(steps: Sequence[str | int | None]) -> Getter:
    if len(steps) == 1 and isinstance(steps[0], str):
        key = steps[0]
        return lambda event: event.get(key, Absent) if isinstance(event, Mapping) else Absent
    return lambda event: _follow(event, steps)


def _follow(value: Any, steps: Sequence[str | int | None]) -> Any:
    for position, step in enumerate(steps):
        if isinstance(step, str):
            value = value.get(step, Absent) if isinstance(value, Mapping) else Absent
        elif not _is_list(value):
            return Absent
        elif step is None:
            found = [_follow(element, steps[position + 1 :]) for element in value]
            return [element for element in found if element is not Absent]
        else:
            value = value[step] if -len(value) <= step < len(value) else Absent
        if value is Absent:
            return Absent
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


# --- conditions


def _ordered(compare: Callable[[Any, Any], bool]) -> Comparison:
    def test(value: Any, wanted: Any) -> bool:
        try:
            return bool(compare(value, wanted))
        except TypeError:
            return False

    return test


def _textual(method: str, fold: bool) -> Comparison:
    compare: Callable[[str, str], bool] = getattr(str, method)

    def test(value: Any, wanted: Any) -> bool:
        if method == "__contains__" and not isinstance(value, str):
            return _is_list(value) and any(_equal(item, wanted, fold) for item in value)
        if not isinstance(value, str) or not isinstance(wanted, str):
            return False
        return compare(value.casefold(), wanted.casefold()) if fold else compare(value, wanted)

    return test


def _equal(value: Any, wanted: Any, fold: bool) -> bool:
    if fold and isinstance(value, str) and isinstance(wanted, str):
        return value.casefold() == wanted.casefold()
    # YAML's true is not 1
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _in_network(value: Any, wanted: Any) -> bool:
    network = ipaddress.ip_network(str(wanted), strict=False)  # checked when compiled
    addresses = [_address(item) for item in (value if _is_list(value) else [value])]
    return any(address in network for address in addresses if address is not None)


def _address(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_public(value: Any) -> bool:
    address = _address(value)
    return address is not None and address.is_global


def _is_private(value: Any) -> bool:
    address = _address(value)
    return address is not None and address.is_private


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


_COMPARISONS: dict[str, Comparison] = {
    "Equals": lambda value, wanted: _equal(value, wanted, fold=False),
    "IEquals": lambda value, wanted: _equal(value, wanted, fold=True),
    "StartsWith": _textual("startswith", fold=False),
    "IStartsWith": _textual("startswith", fold=True),
    "EndsWith": _textual("endswith", fold=False),
    "IEndsWith": _textual("endswith", fold=True),
    "Contains": _textual("__contains__", fold=False),
    "IContains": _textual("__contains__", fold=True),
    "IsGreaterThan": _ordered(operator.gt),
    "IsGreaterThanOrEquals": _ordered(operator.ge),
    "IsLessThan": _ordered(operator.lt),
    "IsLessThanOrEquals": _ordered(operator.le),
    "IsIn": lambda value, wanted: _is_list(wanted) and any(_equal(value, item, fold=False) for item in wanted),
    "Has": lambda value, wanted: _is_list(value) and any(_equal(item, wanted, fold=False) for item in value),
    "IsIPAddressInCIDR": _in_network,
}
_NEGATIONS = {
    "DoesNotEqual": "Equals", "DoesNotIEqual": "IEquals",
    "DoesNotStartWith": "StartsWith", "DoesNotEndWith": "EndsWith",
    "DoesNotContain": "Contains", "IDoesNotEqual": "IEquals", "IDoesNotStartWith": "IStartsWith",
    "IDoesNotEndWith": "IEndsWith", "IDoesNotContain": "IContains", "DoesNotIStartWith": "IStartsWith",
    "DoesNotIEndWith": "IEndsWith", "DoesNotIContain": "IContains", "IsNotIn": "IsIn", "DoesNotHave": "Has",
    "IsIPAddressNotInCIDR": "IsIPAddressInCIDR", "IsNotIPAddressInCIDR": "IsIPAddressInCIDR",
}  # fmt: skip
_SPELLINGS = {
    f"{name}{spelling}": f"{name}OrEquals"
    for name in ("IsGreaterThan", "IsLessThan")
    for spelling in ("OrEqual", "OrEqualTo", "OrEquals", "OrEqualsTo")
}
_STATES: dict[str, Test] = {
    "Exists": lambda value: value is not Absent,
    "DoesNotExist": lambda value: value is Absent,
    "IsNull": lambda value: value is None,
    "IsNotNull": lambda value: value is not None and value is not Absent,
    "IsNullOrEmpty": lambda value: value is Absent or _is_empty(value),
    "IsNotNullOrEmpty": lambda value: value is not Absent and not _is_empty(value),
    "IsIPAddress": lambda value: _address(value) is not None,
    "IsIPv4Address": lambda value: isinstance(_address(value), ipaddress.IPv4Address),
    "IsIPv6Address": lambda value: isinstance(_address(value), ipaddress.IPv6Address),
    "IsIPAddressPublic": _is_public,
    "IsIPAddressPrivate": _is_private,
}
_COUNTS: dict[str, Callable[[int, int], bool]] = {
    "AllElements": lambda met, of: met == of,
    "AnyElement": lambda met, of: met > 0,
    "NoElement": lambda met, of: met == 0,
    "OnlyOneElement": lambda met, of: met == 1,
}
_NAMES = (*_COMPARISONS, *_NEGATIONS, *_SPELLINGS, *_STATES, *_COUNTS, "AlwaysTrue", "AlwaysFalse")


def _compile(expression: Any, depth: int) -> Test:
    if not isinstance(expression, Mapping):
        raise ConditionError(f"an expression must be a mapping, not {brief(expression)}")
    if depth > _MAX_DEPTH:
        raise ConditionError(f"expressions are nested more than {_MAX_DEPTH} deep")
    for name in _COMBINATORS:
        if name in expression or (name == "None" and None in expression):
            members = expression.get(name, expression.get(None))
            return _combine(name, members or [], depth + 1)
    condition = str(expression.get("Condition", ""))
    if condition not in _NAMES:
        raise ConditionError(f"unknown Condition {condition!r}{_hint(condition)}")
    if condition in ("AlwaysTrue", "AlwaysFalse"):
        answer = condition == "AlwaysTrue"
        return lambda event: answer
    values = expression.get("Values")
    if isinstance(values, list) and len(values) == 2 and all(_names_key(value) for value in values):
        return _compare_keys(condition, *values)
    find = getter(expression) or (lambda element: element)
    if condition in _STATES:
        state = _STATES[condition]
        return lambda event: state(find(event))
    if condition in _COUNTS:
        return _count(condition, find, expression.get("Expressions"), depth)
    if "Value" not in expression and not isinstance(values, list):
        raise ConditionError(f"{condition} needs a Value or Values")
    wanted = expression.get("Value", values)
    compare, positive = _comparison(condition)
    _check_wanted(compare, condition, wanted)
    return lambda event: _holds(compare, positive, find(event), wanted)


def _hint(condition: str) -> str:
    hint = did_you_mean(condition, _NAMES)
    return f", {hint}" if hint else ""


def _names_key(value: Any) -> bool:
    return isinstance(value, Mapping) and any(name in value for name in _KEY_SPECIFIERS)


def _comparison(condition: str) -> tuple[Comparison, bool]:
    condition = _SPELLINGS.get(condition, condition)
    if condition in _NEGATIONS:
        return _COMPARISONS[_NEGATIONS[condition]], False
    if condition not in _COMPARISONS:
        raise ConditionError(f"{condition} does not compare values")
    return _COMPARISONS[condition], True


def _check_wanted(compare: Comparison, condition: str, wanted: Any) -> None:
    if compare is _in_network:
        try:
            ipaddress.ip_network(str(wanted), strict=False)
        except ValueError as error:
            raise ConditionError(f"{condition}: {error}") from None


def _holds(compare: Comparison, positive: bool, value: Any, wanted: Any) -> bool:
    met = value is not Absent and compare(value, wanted)
    return met is positive


def _compare_keys(condition: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Test:
    compare, positive = _comparison(condition)
    find_left, find_right = getter(left), getter(right)
    assert find_left is not None
    assert find_right is not None

    def test(event: Any) -> bool:
        wanted = find_right(event)
        value = Absent if wanted is Absent else find_left(event)
        if compare is _in_network and _check_network(wanted):
            value = Absent
        return _holds(compare, positive, value, wanted)

    return test


def _check_network(value: Any) -> bool:
    """Whether `value`, which comes from the event, is no network."""
    try:
        ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        return True
    return False


def _count(condition: str, find: Getter, expressions: Any, depth: int) -> Test:
    if not isinstance(expressions, list) or not expressions:
        raise ConditionError(f"{condition} needs Expressions")
    element_test = _combine("All", expressions, depth + 1)
    enough = _COUNTS[condition]

    def test(event: Any) -> bool:
        elements = find(event)
        if not _is_list(elements):
            return False
        return enough(sum(map(element_test, elements)), len(elements))

    return test


def _combine(name: str, expressions: Any, depth: int) -> Test:
    if not isinstance(expressions, Sequence) or isinstance(expressions, str):
        raise ConditionError(f"{name} needs a list of expressions")
    tests = [_compile(expression, depth) for expression in expressions]
    if not tests:
        return lambda event: True
    if len(tests) == 1 and name in ("All", "Any"):
        return tests[0]
    if name == "All":
        return lambda event: all(test(event) for test in tests)
    if name == "Any":
        return lambda event: any(test(event) for test in tests)
    if name == "OnlyOne":
        return lambda event: sum(test(event) for test in tests) == 1
    return lambda event: not any(test(event) for test in tests)


def as_text(value: Any) -> str:
    """A value as a title shows it: nothing for what is missing, plain containers."""
    if value is Absent or value is None:
        return ""
    if isinstance(value, PantherEvent | ImmutableCaseInsensitiveDict) or _is_list(value):
        return str(thaw(value))
    return str(value)
