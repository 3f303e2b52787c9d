"""Which type values get."""

from __future__ import annotations

from typing import Any

import pytest

from .build import column, comment_of, fields, infer_json


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 2], {"type": "bigint"}),
        ([1, 2.5], {"type": "float"}),
        ([True, False], {"type": "boolean"}),
        (["a", "b"], {"type": "string"}),
        ([1, "a"], {"type": "string"}),
        ([True, 1], {"type": "string"}),
        ([1, {"a": 1}], {"type": "json"}),
        ([[1], {"a": 1}], {"type": "json"}),
        ([2**64 - 1, 1], {"type": "string"}),
        ([[1, 2], []], {"type": "array", "element": {"type": "bigint"}}),
        ([[]], {"type": "array", "element": {"type": "json"}}),
        ([{}], {"type": "json"}),
    ],
)
def test_kinds(values: list[Any], wanted: dict[str, Any]) -> None:
    """One kind is its type; scalars that differ are a string, structures that differ are json."""
    assert column(*values) == wanted


@pytest.mark.parametrize(
    "values",
    [
        ["012345678901", "123456789012"],
        ["01234", "90210"],
        ["12345678901234567890123456789012"],
        ["1234567e12", "0e123456"],
        ["Infinity", "nan"],
        ["1_000", "0x1p-2"],
        ["t", "F"],
        ["1", "22"],
    ],
)
def test_identifiers_stay_strings(values: list[str]) -> None:
    """Texts of digits and words that some readers take for numbers or booleans stay as they are."""
    assert column(*values)["type"] == "string"


def test_texts_that_count_are_numbers() -> None:
    """Digits under the name of a quantity are numbers."""
    assert column("10", "9", name="bytes") == {"type": "bigint"}


def test_numbers_that_identify_are_strings() -> None:
    """An account number without quotes keeps its spelling."""
    assert column(123456789012, 210987654321, name="accountNumber")["type"] == "string"


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_text_does_not_spoil_a_type(nothing: Any) -> None:
    """Empty texts and null are absence."""
    assert column(1, nothing, 2) == {"type": "bigint"}
    assert column("2024-05-01T10:00:00Z", nothing) == {"type": "timestamp", "timeFormats": ["rfc3339"]}
    assert column("10.0.0.1", nothing, name="peer") == {"type": "string", "indicators": ["ip"]}


def test_a_dash_does_not_spoil_a_type() -> None:
    """A text that stands for nothing beside typed values makes the schema lenient, and the record stays."""
    made = infer_json({"n": 1}, {"n": "-"}, {"n": 3})
    assert (fields(made)["n"]["type"], "lenient: true" in made.yaml, made.losses) == ("bigint", True, [])


def test_always_null_is_left_out() -> None:
    """What is never there cannot be declared; the head says so."""
    made = infer_json({"a": 1, "b": None})
    assert list(fields(made)) == ["a"]
    assert "b: always null" in made.yaml


def test_maps_are_json() -> None:
    """Objects whose keys are values are one json field, which keeps the indicators inside."""
    records = [{"hosts": {f"10.0.0.{at}": {"peer": f"10.1.0.{at}"}}} for at in range(30)]
    assert fields(infer_json(*records))["hosts"] == {"name": "hosts", "type": "json", "indicators": ["ip"]}
    many = [{"box": {f"k{at * 10 + more}": 1 for more in range(10)}} for at in range(50)]
    assert fields(infer_json(*many))["box"]["type"] == "json"


def test_embedded_json_is_decoded() -> None:
    """Texts that hold JSON objects get the fields inside."""
    made = infer_json({"body": '{"n": 1}'}, {"body": '{"n": 2}'})
    assert fields(made)["body"] == {
        "name": "body",
        "type": "object",
        "isEmbeddedJSON": True,
        "fields": [{"name": "n", "type": "bigint"}],
    }
    assert not made.losses


def test_enums_are_noted() -> None:
    """Few values that repeat are named in a comment."""
    made = infer_json(*({"status_text": "ok" if at % 2 else "failed"} for at in range(20)))
    assert comment_of(made, "status_text") == "one of failed, ok"


def test_discriminators_are_noted() -> None:
    """A field that says which other fields there are is named at the top."""
    logins = [{"kind": "login", "who": f"u{at}"} for at in range(10)]
    calls = [{"kind": "call", "path": f"/{at}"} for at in range(10)]
    assert "kind tells kinds of records apart: path, who" in infer_json(*logins, *calls).yaml


def test_little_evidence_is_marked() -> None:
    """A field seen a few times asks to be checked."""
    assert comment_of(infer_json({"a": 1}), "a") == "check: seen 1 times"
    assert comment_of(infer_json(*({"a": at} for at in range(50))), "a") == ""


def test_required_only_where_it_tells_records_apart() -> None:
    """Common names, fields that are missing somewhere, and few records require nothing."""
    records = [{"id": f"x{at}", "orderNumber": f"n{at}", "maybe_there": f"y{at}"} for at in range(20)]
    del records[3]["maybe_there"]
    found = fields(infer_json(*records))
    assert {name for name, field in found.items() if field.get("required")} == {"orderNumber"}
    assert "required" not in infer_json(*records[:3]).yaml


def test_names_that_are_one_column() -> None:
    """Keys that differ in capitals only, or are reserved, are left out and told."""
    made = infer_json({"Name": "a", "name": "b", "p_row_id": "c", "": 1})
    assert list(fields(made)) == ["Name"]
    assert "p_row_id: cannot be a column" in made.yaml
