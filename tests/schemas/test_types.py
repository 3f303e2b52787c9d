"""What each type takes, and what becomes of it."""

import pytest

from tests.schemas.build import declared, one_field, read, refused

ABSENT = object()


def taken(kind: str, literal: str, **attributes: object) -> object:
    """What a field of the type holds after reading a JSON literal."""
    event = read(one_field(type=kind, **attributes), b'{"f": ' + literal.encode() + b"}")
    return event.get("f", ABSENT)


@pytest.mark.parametrize(
    ("literal", "wanted"),
    [
        ('"text"', "text"), ('""', ""), ("1", "1"), ("1e3", "1e3"), ("1.10", "1.10"), ("-0.0", "-0.0"),
        ("12345678901234567890", "12345678901234567890"), ("123456789012345678901234", "123456789012345678901234"),
        ("true", "true"), ("false", "false"), ("null", ABSENT), ('"\\u0000"', "\0"),
    ],
)  # fmt: skip
def test_string_keeps_the_spelling_of_numbers_and_booleans(literal: str, wanted: object) -> None:
    """A text field takes any scalar and keeps how it was written."""
    assert taken("string", literal) == wanted


@pytest.mark.parametrize("literal", ["{}", "[]", '["a"]'])
def test_string_refuses_structures(literal: str) -> None:
    """An object or array in a text field means that the record is of another schema."""
    assert refused(one_field(type="string"), b'{"f": ' + literal.encode() + b"}").detail.startswith(
        "f: expected string"
    )


@pytest.mark.parametrize(
    ("kind", "literal", "wanted"),
    [
        ("bigint", "9223372036854775807", 2**63 - 1), ("bigint", "-9223372036854775808", -(2**63)),
        ("bigint", '"42"', 42), ("bigint", '""', ABSENT), ("bigint", "null", ABSENT), ("bigint", "0", 0),
        ("int", "2147483647", 2**31 - 1), ("int", '"-7"', -7), ("smallint", "-32768", -32768),
        ("float", "1.5", 1.5), ("float", "3", 3.0), ("float", '"2.25"', 2.25), ("float", '"1e3"', 1000.0),
        ("float", '""', ABSENT), ("boolean", "true", True), ("boolean", "1", True), ("boolean", "0", False),
        ("boolean", '"T"', True), ("boolean", '"f"', False), ("boolean", '"FALSE"', False), ("boolean", '""', ABSENT),
    ],
)  # fmt: skip
def test_numbers_and_booleans_take_their_texts(kind: str, literal: str, wanted: object) -> None:
    """Texts of numbers and booleans are converted; empty ones count as absent."""
    assert taken(kind, literal) == wanted
    assert type(taken(kind, literal)) is type(wanted)


@pytest.mark.parametrize(
    ("kind", "literal"),
    [
        ("bigint", "1.5"), ("bigint", "1.0"), ("bigint", '"1.0"'), ("bigint", "true"), ("bigint", "1e3"),
        ("bigint", "9223372036854775808"), ("bigint", '"1_000"'), ("bigint", "[]"), ("bigint", '"٣"'),
        ("int", "2147483648"), ("smallint", "32768"), ("smallint", '"-32769"'),
        ("float", '"nan"'), ("float", '"1_0"'), ("float", "true"), ("float", "{}"), ("float", '"1e999"'),
        ("boolean", '"yes"'), ("boolean", "2"), ("boolean", "1.0"), ("boolean", "[]"),
        ("array", "{}"), ("object", "[]"), ("object", '"x"'),
    ],
)  # fmt: skip
def test_values_of_another_type_refuse_the_record(kind: str, literal: str) -> None:
    """What would lose meaning in the conversion is not converted."""
    extra: dict[str, dict[str, object]] = {
        "array": {"element": {"type": "string"}},
        "object": {"fields": [{"name": "a", "type": "string"}]},
    }
    rejected = refused(one_field(type=kind, **extra.get(kind, {})), b'{"f": ' + literal.encode() + b"}")
    assert rejected.reason == "invalid"
    assert rejected.log_type == "Custom.Test"
    assert rejected.detail.startswith("f: ")


def test_array_keeps_null_elements_and_empty_arrays() -> None:
    """Elements are converted one by one; null stays in its place."""
    schema = one_field(type="array", element={"type": "bigint"})
    assert declared(read(schema, {"f": [1, "2", None, ""]})) == {"f": [1, 2, None, None]}
    assert declared(read(schema, {"f": []})) == {"f": []}


def test_json_passes_through_verbatim() -> None:
    """A json field keeps any value, nested nulls included; null at its top is absence."""
    value = {"a": [None, {"b": None}], "@c": 1.5}
    assert read(one_field(type="json"), {"f": value})["f"] == value
    assert "f" not in read(one_field(type="json"), {"f": None})


def test_embedded_json_is_decoded() -> None:
    """isEmbeddedJSON takes the text apart; what is no JSON stays text where any JSON is allowed."""
    fields = [{"name": "n", "type": "bigint"}]
    schema = one_field(type="object", isEmbeddedJSON=True, fields=fields)
    assert read(schema, {"f": '{"n": "7"}'})["f"] == {"n": 7}
    assert read(schema, {"f": {"n": 7}})["f"] == {"n": 7}
    assert "f" not in read(schema, {"f": ""})
    assert "embedded JSON does not decode" in refused(schema, {"f": "{"}).detail
    assert "expected object" in refused(schema, {"f": "[1]"}).detail
    assert read(one_field(type="json", isEmbeddedJSON=True), {"f": "[1]"})["f"] == [1]
    assert read(one_field(type="json", isEmbeddedJSON=True), {"f": "plain"})["f"] == "plain"
    array = one_field(type="array", isEmbeddedJSON=True, element={"type": "string"})
    assert read(array, {"f": "[1.50]"})["f"] == ["1.50"]


def test_required_means_present_and_not_null() -> None:
    """An empty text is enough for a text, not for a number; inside an absent object nothing is required."""
    assert read(one_field(type="string", required=True), {"f": ""})["f"] == ""
    assert read(one_field(type="bigint", required=True), {"f": 0})["f"] == 0
    for kind, record in (("string", {}), ("string", {"f": None}), ("bigint", {"f": ""}), ("timestamp", {"f": ""})):
        assert refused(one_field(type=kind, required=True), {**record, "x": 1}).detail == "f: required, but absent"
    inner = one_field(type="object", fields=[{"name": "a", "type": "string", "required": True}])
    assert declared(read(inner, {})) == {}
    assert refused(inner, {"f": {}}).detail == "f.a: required, but absent"


def test_allow_and_deny_are_exact() -> None:
    """validate.allow and deny compare whole texts, capitals included, and only when the field is there."""
    allow = one_field(type="string", validate={"allow": ["a", "b"]})
    assert read(allow, {"f": "b"})["f"] == "b"
    assert "f" not in read(allow, {})
    assert refused(allow, {"f": "A"}).detail == "f: 'A' is not allowed"
    deny = one_field(type="string", validate={"deny": ["a", "b"]})
    assert read(deny, {"f": "c"})["f"] == "c"
    assert [refused(deny, {"f": bad}).detail for bad in "ab"] == ["f: 'a' is denied", "f: 'b' is denied"]


def test_addresses_and_ranges_are_checked() -> None:
    """validate.ip and cidr take their family; with both, either suffices."""
    assert read(one_field(type="string", validate={"ip": "ipv4"}), {"f": "10.0.0.1"})
    assert "expected ipv4 address" in refused(one_field(type="string", validate={"ip": "ipv4"}), {"f": "::1"}).detail
    both = one_field(type="string", validate={"ip": "any", "cidr": "ipv6"})
    assert [read(both, {"f": text})["f"] for text in ("::1", "fe80::/10")] == ["::1", "fe80::/10"]
    assert refused(both, {"f": "10.0.0.0/8"}).reason == "invalid"


def test_a_deep_schema_compiles() -> None:
    """Sixty-four levels of objects and arrays, the most that a schema may have, become working code."""
    value: dict[str, object] = {"type": "string", "indicators": ["ip"]}
    record: object = "10.1.1.1"
    for _ in range(31):
        value = {"type": "array", "element": {"type": "object", "fields": [{"name": "n", **value}]}}
        record = [{"n": record}]
    event = read(one_field(**value), {"f": record})
    assert event["f"] == record
    assert event["p_any_ip_addresses"] == ["10.1.1.1"]


def test_refs_stand_for_their_definition() -> None:
    """type ref takes over the type of the definition."""
    schema = """
        definitions:
          Person: {type: object, fields: [{name: mail, type: string, indicators: [email]}]}
        fields:
          - {name: owner, type: ref, target: Person}
          - {name: members, type: array, element: {type: ref, target: Person}}
    """
    event = read(schema, {"owner": {"mail": "a@x.org"}, "members": [{"mail": "b@x.org"}, None]})
    assert event["p_any_emails"] == ["a@x.org", "b@x.org"]
    assert event["p_any_usernames"] == ["a", "b"]
