"""The event as rules see it: every promise of its API."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ingestd.detections.event import PantherError, PantherEvent
from ingestd.detections.immutable import ImmutableCaseInsensitiveDict, ImmutableList

Json = dict[str, Any]


def view(**fields: Any) -> PantherEvent:
    """An event of these fields."""
    return PantherEvent(fields)


def test_containers_are_views_and_not_dicts_or_lists() -> None:
    """Nested dicts and lists come as a Mapping and a Sequence that are no dict and no list."""
    event = view(a={"b": 1}, c=[{"d": 2}])
    assert type(event.get("a")) is ImmutableCaseInsensitiveDict
    assert type(event.get("c")) is ImmutableList
    assert type(event.get("c")[0]) is ImmutableCaseInsensitiveDict
    for item in (event, event["a"]):
        assert isinstance(item, Mapping)
        assert not isinstance(item, dict)
    assert isinstance(event["c"], Sequence)
    assert not isinstance(event["c"], list | tuple)


def test_nothing_can_be_changed_through_an_event() -> None:
    """Item assignment, update, pop, append, `+` and `|` do not exist."""
    event: Any = view(a={"b": 1}, c=[1])
    with pytest.raises(AttributeError):
        event.update({})
    with pytest.raises(AttributeError):
        event.pop("a")
    with pytest.raises(AttributeError):
        event["c"].append(2)
    with pytest.raises(TypeError):
        event["a"] = 1
    with pytest.raises(TypeError):
        event["c"] + [1]
    with pytest.raises(TypeError):
        event["a"] | {}
    with pytest.raises(TypeError):
        del event["a"]["b"]


def test_attributes_can_be_set_on_an_event() -> None:
    """Rules may hang values of their own on the event."""
    event = view()
    event.seen = 1  # type: ignore[attr-defined]
    assert event.seen == 1  # type: ignore[attr-defined]


def test_plain_containers_that_are_handed_out_are_copies() -> None:
    """Changing what a slice, deep_walk, raw_view or to_dict gave leaves the event as it was."""
    raw: Json = {"l": [{"a": 1}], "d": {"k": [1]}}
    event = PantherEvent(raw)
    event["l"][0:1][0]["a"] = 2
    event.deep_walk("d")["k"].append(2)
    event.raw_view()["d"]["k"].append(3)
    event.to_dict()["l"].clear()
    event["l"].copy().clear()
    assert raw == {"l": [{"a": 1}], "d": {"k": [1]}}


def test_a_slice_is_a_tuple_of_plain_values() -> None:
    """Slices and tuples are not viewed."""
    sliced = view(l=[{"a": 1}, {"b": 2}, 3])["l"][0:2]
    assert type(sliced) is tuple
    assert [type(item) for item in sliced] == [dict, dict]


def test_lookups_prefer_the_exact_key() -> None:
    """The exact key wins over one that differs in case."""
    assert view(Name=1, name=2).get("name") == 2


def test_lookups_fall_back_to_the_first_key_that_differs_in_case() -> None:
    """Of several such keys the first in the event answers, for get, [], in and deep_get."""
    event = view(EVENTNAME=1, eventname=2, Outer={"INNER": 3})
    assert event.get("eventName") == 1
    assert event["EventName"] == 1
    assert "eventNAME" in event
    assert event.deep_get("outer", "inner") == 3
    assert event.get("outer")["inner"] == 3


def test_a_missing_key() -> None:
    """[] raises KeyError with the key as asked, get gives its default, in is False."""
    event = view(a=1)
    with pytest.raises(KeyError, match="'Missing'"):
        event["Missing"]
    assert event.get("Missing") is None
    assert event.get("Missing", 5) == 5
    assert "Missing" not in event


def test_a_key_that_is_no_string() -> None:
    """AttributeError on an event with fields; on an empty one it is just missing."""
    with pytest.raises(AttributeError):
        view(a=1).get(1)  # type: ignore[arg-type]
    assert view().get(1, 2) == 2  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        view()[1]  # type: ignore[index]


def test_get_keeps_an_explicit_null() -> None:
    """The default is for missing keys only."""
    assert view(a=None).get("a", "x") is None


@pytest.mark.parametrize(
    ("keys", "default", "expected"),
    [
        (("a", "b"), None, 0),
        (("a", "e"), "x", ""),
        (("a", "n"), "x", "x"),
        (("a", "missing"), "x", "x"),
        (("a", "l", "x"), "d", "d"),
        (("a", "b", "c"), "d", "d"),
        (("missing", "k"), {"k": 7}, 7),
        ((), None, {"a": {"b": 0, "e": "", "n": None, "l": [1]}}),
    ],
)
def test_deep_get(keys: tuple[str, ...], default: Any, expected: Any) -> None:
    """Falsy values are kept; null at the end, a missing key or a non-mapping on the way give the default, in
    which a mapping is indexed further; no keys give the event."""
    event = view(a={"b": 0, "e": "", "n": None, "l": [1]})
    assert event.deep_get(*keys, default=default) == expected


def test_equality_is_by_content() -> None:
    """Views equal plain containers and other mappings, both ways, and are unhashable."""
    event = view(a={"b": [1]})
    assert event == {"a": {"b": [1]}}
    assert {"a": {"b": [1]}} == event  # noqa: SIM300 - the other way round is the point
    assert event == {"a": {"b": ImmutableList([1])}}
    assert event["a"]["b"] == [1]
    assert event["a"]["b"] == (1,)
    assert event["a"]["b"] == ImmutableList([1])
    assert event != {"a": 1}
    assert event["a"]["b"] != "1"
    with pytest.raises(TypeError):
        hash(event)
    with pytest.raises(TypeError):
        hash(event["a"]["b"])


def test_texts_of_views() -> None:
    """repr, str and f-strings show the class name and the plain content."""
    event = view(a={"b": 1}, l=["x"], one=[{"y": [1]}])
    assert f"{event}" == "PantherEvent({'a': {'b': 1}, 'l': ['x'], 'one': [{'y': [1]}]})"
    assert str(event["a"]) == "ImmutableCaseInsensitiveDict({'b': 1})"
    assert str(event["l"]) == "ImmutableList(('x',))"
    assert str(event["one"]) == "ImmutableList(({'y': [1]},))"


def test_iteration_and_items() -> None:
    """Iteration gives keys as they are; items and values give views."""
    event = view(A={"b": 1}, c=[1])
    assert list(event) == ["A", "c"]
    assert [type(value) for _, value in event.items()] == [ImmutableCaseInsensitiveDict, ImmutableList]
    assert dict(event)["A"] == {"b": 1}
    assert len(event) == 2
    assert bool(view()) is False


def test_lists_behave_as_sequences() -> None:
    """in, iteration, index, count, len and negative positions."""
    items = view(l=[{"a": 1}, "b", "b"])["l"]
    assert {"a": 1} in items
    assert [type(item) for item in items] == [ImmutableCaseInsensitiveDict, str, str]
    assert items[-1] == "b"
    assert items.index("b") == 1
    assert items.count("b") == 2
    assert len(items) == 3


def test_an_event_is_no_json() -> None:
    """json.dumps refuses views, as it always did."""
    with pytest.raises(TypeError):
        json.dumps(view(a=1))


def test_views_can_be_copied_deeply() -> None:
    """copy.deepcopy gives an equal view that still knows what is missing."""
    copied = copy.deepcopy(view(a={"b": 1}))
    assert copied == {"a": {"b": 1}}
    assert copied.get("x", 3) == 3


@pytest.mark.parametrize(
    ("keys", "options", "expected"),
    [
        (("a", "b"), {}, [1, 2]),
        (("a", "b"), {"return_val": "first"}, 1),
        (("a", "b"), {"return_val": "last"}, 2),
        (("a", "b"), {"return_val": "other"}, "all"),
        (("a", "c"), {}, 5),
        (("a", "c"), {"default": ""}, ["", 5]),
        (("a", "x"), {}, None),
        (("a", "x"), {"default": 9}, 9),
        (("A", "b"), {"default": 9}, 9),
        (("empty",), {"default": 9}, 9),
        (("hollow",), {"default": 9}, 9),
        (("d",), {}, {"k": [1]}),
        (("null",), {"default": 9}, 9),
    ],
)
def test_deep_walk(keys: tuple[str, ...], options: Json, expected: Any) -> None:
    """Lists fan out; values are distinct, in order; one comes bare; nothing, or hollow lists, give the default,
    which missing elements contribute when it is not None; keys are case-sensitive."""
    event = view(
        a=[{"b": 1}, {"b": 2, "c": 5}, {"b": 1, "c": 5}], empty=[], hollow=[[], [[]]], d={"k": [1]}, null=None
    )
    assert event.deep_walk(*keys, **options) == expected


def test_deep_walk_cannot_tell_containers_under_a_list_apart() -> None:
    """A dict as a leaf under a list is a TypeError."""
    with pytest.raises(TypeError):
        view(a=[{"b": {"c": 1}}]).deep_walk("a", "b")


class Model:
    """A data model with one name that is mapped to a value, one to nothing, one to null."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def value(self, event: ImmutableCaseInsensitiveDict, name: str) -> Any:
        from ingestd.detections.event import Unanswered
        from ingestd.detections.immutable import Absent

        self.asked.append(name)
        known: Json = {"user": {"n": 1}, "gone": Unanswered, "null": None}
        return known.get(name, Absent)

    def path(self, event: ImmutableCaseInsensitiveDict, name: str) -> str | None:
        return {"user": "a.b"}.get(name)


def test_udm_with_a_data_model() -> None:
    """A mapped value, even null, wins over everything; a mapped name without a value gives the default."""
    event = PantherEvent({"gone": 1, "null": 2, "p_udm": {"user": 3}}, Model())
    assert event.udm("user") == {"n": 1}
    assert type(event.udm("user")) is ImmutableCaseInsensitiveDict
    assert event.udm("null", default=9) is None
    assert event.udm("gone", default=9) == 9
    assert event.udm_path("user") == "a.b"


def test_udm_asks_the_data_model_once_per_event() -> None:
    """Many rules ask for the same standard fields; a method of a data model runs once."""
    model = Model()
    event = PantherEvent({}, model)
    assert [event.udm("user") for _ in range(3)] == [{"n": 1}] * 3
    assert model.asked == ["user"]


def test_udm_without_a_mapping() -> None:
    """p_udm first, then the event itself, truthy values only, else the default; several keys skip the model."""
    event = PantherEvent({"p_udm": {"a": {"b": 1}, "zero": 0}, "c": 2, "zero": 0}, Model())
    assert event.udm("a", "b") == 1
    assert event.udm("c") == 2
    assert event.udm("zero", default=5) == 5
    assert view(c=3).udm("c") == 3


def test_udm_path_needs_a_data_model() -> None:
    """Without one it is a PantherError."""
    with pytest.raises(PantherError):
        view().udm_path("user")


@pytest.mark.parametrize(
    ("time", "epoch"),
    [
        ("2026-01-02 03:04:05", 1767323045),
        ("2026-01-02 03:04:05.678901234", 1767323045),
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02 03:04:05+05:00", 0),
        ("nonsense", 0),
        (None, 0),
        (5, 0),
    ],
)
def test_event_time_epoch(time: Any, epoch: int) -> None:
    """Seconds since the epoch of the canonical form; 0 for anything with a zone of its own, or no time at all."""
    assert PantherEvent({"p_event_time": time}).event_time_epoch() == epoch


def test_lookup_reads_what_the_sample_mocks() -> None:
    """In tests a lookup table's rows lie in the sample."""
    assert view(_mocked_lookup_data_={"t": {"k": 1}}).lookup("t", "k") == 1
