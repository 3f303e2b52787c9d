"""Any JSON, laid out in any way and arriving in any pieces, comes out as the documents that went in."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.model import Framing
from tests.decode.reading import ARRAY, AUTO, JSON, frame, read

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["},{", '"', "\\", "]}", "\n"]
)
_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, width=32) | _text
_values = st.recursive(
    _scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(_text, _values, max_size=4)
_spaces = st.text(" \t\r\n", max_size=3)
_layouts = st.fixed_dictionaries(
    {"indent": st.sampled_from([None, None, 0, 2]), "ensure_ascii": st.booleans()}
    | {"separators": st.sampled_from([None, (",", ":"), (" , ", " : ")])}
)


def _dumps(value: Any, layout: dict[str, Any]) -> str:
    return json.dumps(value, **layout)


def _loads(records: list[Any]) -> list[Any]:
    return [json.loads(record) for record in records]


@given(st.lists(_objects | st.lists(_values, max_size=3), max_size=6), st.lists(_layouts, min_size=6), st.data())
@settings(max_examples=100)
def test_values_one_after_the_other(values: list[Any], layouts: list[dict[str, Any]], data: st.DataObject) -> None:
    """With anything white between them, or nothing."""
    text = "".join(
        _dumps(value, layout) + data.draw(_spaces) for value, layout in zip(values, layouts, strict=False)
    ).encode()
    size = data.draw(st.integers(1, len(text) + 1))
    assert _loads(frame(text, JSON, size)) == values
    assert _loads(read(text, JSON).all) == values


@given(st.lists(_values, max_size=6), _spaces.filter(len), st.data())
def test_scalars_with_space_between(values: list[Any], space: str, data: st.DataObject) -> None:
    """Numbers and words end where they end, not where a piece does."""
    text = space.join(map(json.dumps, values)).encode()
    assert _loads(frame(text, JSON, data.draw(st.integers(1, len(text) + 1)))) == values


@given(st.lists(_values, max_size=8), _layouts, _objects, _objects, st.data())
@settings(max_examples=100)
def test_elements_of_an_array(
    values: list[Any], layout: dict[str, Any], before: dict[str, Any], after: dict[str, Any], data: st.DataObject
) -> None:
    """At the top, and at a path, whatever the envelope holds before and after it."""
    top = _dumps(values, layout).encode()
    assert _loads(frame(top, ARRAY, data.draw(st.integers(1, len(top) + 1)))) == values
    before.pop("deep", None)
    after.pop("deep", None)
    envelope = {**before, "deep": {**before, "er": values, **{f"x{key}": value for key, value in after.items()}}}
    envelope |= {f"x{key}": value for key, value in after.items()}
    envelope["deep"]["er"] = values
    text = _dumps(envelope, layout).encode() * 2
    framing = Framing(name="json_array", envelope="deep.er")
    assert _loads(frame(text, framing, data.draw(st.integers(1, len(text) + 1)))) == values * 2


@given(st.lists(_objects, min_size=1, max_size=8), _layouts, _objects)
def test_the_envelope_of_cloudtrail_is_found(
    events: list[dict[str, Any]], layout: dict[str, Any], rest: dict[str, Any]
) -> None:
    """`auto` finds `Records` among other keys, before or after them."""
    rest = {f"x{key}": value for key, value in rest.items()}
    for envelope in ({**rest, "Records": events}, {"Records": events, **rest}):
        result = read(_dumps(envelope, layout).encode(), AUTO)
        assert result.decoder.framing == "json_array"
        assert _loads(result.all) == events


@given(st.binary(max_size=200), st.sampled_from(["json", "json_array", "cloudwatch_logs", "lines", "csv", "auto"]))
def test_any_bytes_are_taken(data: bytes, name: str) -> None:
    """Nothing raises, and nothing depends on the pieces."""
    framing = Framing(name=name)
    assert read(data, framing, size=1).comparable == read(data, framing).comparable


@given(st.text('{}[]",:\\ \n1a', max_size=200), st.sampled_from(["json", "json_array"]))
def test_any_brackets_are_taken(text: str, name: str) -> None:
    """Broken JSON raises nothing, in a framing or behind a good beginning."""
    good = '{"Records":[{"a":1},{"a":2},' if name == "json_array" else '{"a":1}\n{"a":2}\n'
    result = read((good + text).encode(), Framing(name=name))
    assert result.records[:2] == [b'{"a":1}', b'{"a":2}']
    read(text.encode(), Framing(name=name))
