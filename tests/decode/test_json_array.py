"""Arrays of records: where they are found, how large ones are cut, how damage in one is passed over."""

from __future__ import annotations

import json
import random

import pytest

from ingestd.decode import Limits, problem_with
from ingestd.model import Framing
from tests.decode.reading import ARRAY, AUTO, SMALL, read


def event(number: int, **more: object) -> dict[str, object]:
    """Looks like a CloudTrail record, with traps in it."""
    rand = random.Random(number)
    return {
        "eventVersion": "1.08",
        "eventID": number,
        "userAgent": rand.choice(["plain", 'x"},{"eventVersion":"', "\\", "é},{"]),
        "resources": [{"eventVersion": 1}, {"eventVersion": 2}],
        "requestParameters": {"filter": "y" * rand.randrange(2000), "items": [{}, {}]},
        **more,
    }


EVENTS = [event(number) for number in range(1000)]
PLAIN = [event(number, userAgent="agent", resources=[{"arn": 1}, {"arn": 2}]) for number in range(1000)]


@pytest.mark.parametrize(
    "layout",
    [
        {"separators": (",", ":")},
        {},
        {"indent": 2},
        {"indent": 0, "separators": (" ,", " :")},
        {"ensure_ascii": False},
    ],
)
def test_large_arrays_in_any_layout(layout: dict[str, object]) -> None:
    """A megabyte of elements whose strings and parts look like the places between elements."""
    data = json.dumps({"Records": EVENTS}, **layout).encode()  # type: ignore[arg-type]
    result = read(data, ARRAY)
    assert [json.loads(record) for record in result.records] == EVENTS
    for offset, record in zip(result.offsets, result.records, strict=True):
        assert data[offset : offset + len(record)] == record
    assert len(result.blocks) < 100, "cut in bulk"


def test_elements_that_are_no_objects() -> None:
    """Numbers, strings, arrays and nulls are elements like others, many as they may be."""
    values = [1, "a,b", None, [1, [2]], True, {}, -1.5e300] * 30_000
    result = read(json.dumps(values).encode(), ARRAY)
    assert len(result.all) == len(values)
    assert [json.loads(record) for record in result.records[:70]] == values[:70]
    assert len(result.blocks) < 1000


def test_elements_larger_than_what_is_in_hand() -> None:
    """A few megabytes each, between small ones."""
    values = [{"n": number, "blob": "x},{" * size} for number, size in enumerate([1, 700_000, 5, 300_000, 1])]
    result = read(json.dumps({"Records": values}).encode(), ARRAY)
    assert [json.loads(record) for record in result.records] == values


@pytest.mark.parametrize("key", ["Records", "records", "configurationItems", "Events", "items", "value", "entries"])
def test_known_envelopes_are_found(key: str) -> None:
    """Among other keys, of which some hold arrays, too."""
    document = {"meta": {key: [{"x": 1}]}, "tags": [{"y": 1}], key: [{"a": 1}, {"a": 2}], "next": "token"}
    result = read(json.dumps(document).encode(), AUTO)
    assert result.decoder.framing == "json_array"
    assert result.records == [b'{"a": 1}', b'{"a": 2}']


def test_every_known_array_of_a_document_gives_records() -> None:
    """Nothing is left out because another array came first."""
    document = {"items": [], "Records": [{"a": 1}], "value": [1, 2], "Events": [{"b": 1}]}
    assert read(json.dumps(document).encode(), ARRAY).records == [b'{"a": 1}', b'{"b": 1}']


def test_documents_follow_one_another() -> None:
    """Envelopes on one line each, and arrays."""
    line = json.dumps({"Records": EVENTS[:3]}).encode()
    result = read(b"\n".join([line] * 50), AUTO)
    assert result.decoder.framing == "json_array"
    assert len(result.records) == 150
    assert read(b"[1,2][3]\n[]\n[4]", ARRAY).records == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("envelope", "document", "records"),
    [
        ("a.b.c", {"a": {"x": [1], "b": {"c": [1, 2], "d": [3]}}, "b": {"c": [4]}}, [b"1", b"2"]),
        ("logEvents[].message", {"logEvents": [{"message": 'a"b'}, {"message": "é"}]}, [b'a"b', b"\xc3\xa9"]),
        ("[].event", [{"event": {"k": 1}}, {"event": {"k": 2}}], [b'{"k": 1}', b'{"k": 2}']),
        ("a[].b[].c", {"a": [{"b": [{"c": 1}, {"c": 2}]}, {"b": []}, {"b": [{"c": 3}]}]}, [b"1", b"2", b"3"]),
        ("Records", {"Records": None}, []),
        ("Records", {"Records": []}, []),
    ],
)  # fmt: skip
def test_configured_envelopes(envelope: str, document: object, records: list[bytes]) -> None:
    """A dotted path leads to the array, and from its elements to the records; null and empty arrays have none."""
    result = read(json.dumps(document).encode(), Framing(name="json_array", envelope=envelope))
    assert result.all == records
    assert result.decoder.failure is None


def test_an_envelope_alone_means_an_array() -> None:
    """`framing: {envelope: …}` needs no name."""
    result = read(b'{"hits":[1,2]}', Framing(envelope="hits"))
    assert result.records == [b"1", b"2"]
    assert result.decoder.framing == "json_array"


def test_a_document_without_the_array_is_a_damage() -> None:
    """It names the keys that are there; the documents after it come."""
    result = read(b'{"digest":1,"other":{}}{"Records":[{"a":1}]}', ARRAY)
    assert [type(item).__name__ for item in result.all] == ["Damage", "bytes"]
    (damage,) = result.damages
    assert damage.reason == "no_records_array"
    assert "digest, other" in damage.detail
    assert damage.payload.startswith(b'{"digest"')
    assert result.decoder.failure is None


def test_an_element_without_the_record_is_a_damage() -> None:
    """The other elements come."""
    framing = Framing(name="json_array", envelope="logEvents[].message")
    result = read(b'{"logEvents":[{"message":"a"},{"id":1},7,{"message":"b"}]}', framing)
    assert result.records == [b"a", b"b"]
    assert result.reasons == ["no_record_in_element", "no_record_in_element"]
    assert result.damages[0].offset == 30 == result.offsets[1]


# --- damage -------------------------------------------------------------------------------------------------


def broken(what: bytes, by: bytes, layout: dict[str, object]) -> bytes:
    """1,000 events, the 500th with `what` replaced by `by`."""
    texts = [json.dumps(item, **layout).encode() for item in PLAIN]  # type: ignore[arg-type]
    assert what in texts[500]
    texts[500] = texts[500].replace(what, by, 1)
    return b'{"Records":[' + b",".join(texts) + b"]}"


@pytest.mark.parametrize("layout", [{"separators": (",", ":")}, {"indent": 1}])
@pytest.mark.parametrize(
    ("what", "by"),
    [
        (b'"1.08"', b"1.0.8"),
        (b'"eventID"', b"eventID"),
        (b'"requestParameters"', b'requestParameters"'),
        (b'"filter"', b'"filter'),
        (b"[", b"{"),
        (b'"resources"', b"]"),
    ],
)
def test_one_broken_element_is_one_damage(what: bytes, by: bytes, layout: dict[str, object]) -> None:
    """A wrong token, a missing quote, a wrong bracket: all 999 others come, with their ordinals."""
    result = read(broken(what, by, layout), ARRAY)
    assert result.reasons == ["invalid_json"]
    assert result.all.index(result.damages[0]) == 500
    assert [json.loads(record)["eventID"] for record in result.records] == [n for n in range(1000) if n != 500]
    assert result.decoder.failure is None


def test_many_broken_elements() -> None:
    """Each is one damage, in its place."""
    texts = [b'{"n":%d}' % n if n % 7 else b'{"n":%d,}' % n for n in range(20_000)]
    result = read(b'{"Records":[' + b",".join(texts) + b"]}", ARRAY)
    assert [isinstance(item, bytes) for item in result.all] == [bool(n % 7) for n in range(20_000)]
    assert set(result.reasons) == {"invalid_json"}


def test_the_search_for_a_way_on_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements made so that each is scanned in vain cannot keep a worker busy."""
    monkeypatch.setattr("ingestd.decode.json_array._VAIN_BYTES", 100_000)
    result = read(b'[{"a":1},{"a":2},' + (b'{"a":x' + b"{" * 100 + b'"b":1},') * 2000, ARRAY)
    assert result.records == [b'{"a":1}', b'{"a":2}']
    assert result.decoder.failure == "too_much_damage"
    assert result.reasons[-1] == "too_much_damage"


def test_damage_without_a_way_on_ends_the_object() -> None:
    """Behind an element that never closes nothing can be trusted."""
    result = read(b'[{"a":1},{"a":"2},{"b":"3"},{"c":4}]', ARRAY)
    assert result.records == [b'{"a":1}']
    assert result.reasons == ["invalid_json"]
    assert result.decoder.failure == "invalid_json"


@pytest.mark.parametrize("tail", [b"", b",", b',{"a":', b"]", b'],"x":', b'],"x'])
def test_a_cut_document_is_told(tail: bytes) -> None:
    """The records before the cut come, then one damage."""
    result = read(b'{"Records":[{"a":1},{"a":2}' + tail, ARRAY)
    assert result.records == [b'{"a":1}', b'{"a":2}']
    assert result.reasons == ["truncated"]
    assert result.decoder.failure == "truncated"


def test_text_is_no_array() -> None:
    """A wrong configuration is one damage, with what stands there."""
    result = read(b"2023-07-10 some text\n" * 10_000, ARRAY)
    assert result.reasons == ["invalid_json"]
    assert result.damages[0].payload.startswith(b"2023")


def test_deep_nesting_is_one_damage() -> None:
    """100,000 brackets in one element, or in a key beside the array."""
    deep = b"[" * 100_000 + b"]" * 100_000
    result = read(b'{"Records":[{"a":1},{"a":' + deep + b'},{"a":3}],"x":' + deep + b"}", ARRAY)
    assert result.records == [b'{"a":1}', b'{"a":3}']
    assert result.reasons == ["nesting_too_deep"]
    assert result.damages[0].offset == 20
    assert result.decoder.failure is None


def test_a_long_value_beside_the_array_is_passed_over() -> None:
    """It is no record, so no limit holds for it."""
    data = b'{"big":"' + b'\\"' * 200_000 + b'","Records":[{"a":1}],"also":[' + b"1," * 100_000 + b"1]}"
    assert read(data, ARRAY, SMALL).all == [b'{"a":1}']


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a[].", "a[]..b"])
def test_wrong_paths_are_told(path: str) -> None:
    """With an example of a right one."""
    problem = problem_with(Framing(name="json_array", envelope=path))
    assert problem is None if path in ("",) else "is not a path" in (problem or "")


def test_limits_are_about_records_not_blocks() -> None:
    """Many small records in one block are no long record."""
    values = [{"n": number} for number in range(50_000)]
    result = read(json.dumps(values).encode(), ARRAY, Limits(max_record_bytes=100))
    assert len(result.records) == 50_000
