"""Mistakes in schemas: all at once, each with its line and what to write instead."""

import textwrap
from pathlib import Path

import pytest

from ingestd.errors import ConfigError
from ingestd.schemas import Registry
from ingestd.schemas.load import load_schemas


def mistakes(text: str) -> list[str]:
    """The problems of a schema text, as the user reads them."""
    with pytest.raises(ConfigError) as caught:
        load_schemas(textwrap.dedent(text), "s.yml", "Custom.Test")
    return [str(problem) for problem in caught.value.problems]


def test_ten_mistakes_are_ten_problems() -> None:
    """A file with ten mistakes reports ten, each at its line."""
    found = mistakes("""\
        version: 1
        schema: custom.lower
        feilds: []
        fields:
          - {name: a, type: strng}
          - {name: b, type: string, indicators: [emial]}
          - {name: c, type: timestamp, timeFormats: [unix_msec]}
          - {name: A, type: bigint}
          - {name: d, type: array}
          - {name: e, type: ref, target: Missing}
          - {name: p_thing, type: string}
          - {name: f, type: string, validate: {allow: [x], deny: [y]}}
          - {name: g, type: string, timeFormat: unix}
    """)
    wanted = [
        "s.yml:3: unknown key 'feilds' (did you mean 'fields'?)",
        "s.yml:1: version: must be 0, not 1",
        "s.yml:2: schema: 'custom.lower' is not a name for a log type",
        "s.yml:5: a: unknown type 'strng' (did you mean 'string'?)",
        "s.yml:6: b: unknown indicator 'emial' (did you mean 'email'?)",
        "s.yml:7: c: unknown time format 'unix_msec'",
        "s.yml:9: d: an array needs an element (element: {type: string})",
        "s.yml:10: e: no definition named 'Missing' (definitions has none)",
        "s.yml:11: p_thing: names that begin with p_ are for standard fields",
        "s.yml:12: f.validate: write allow or deny, not both",
        "s.yml:13: g: unknown key 'timeFormat'",
    ]
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        assert got.startswith(want)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fields: [{name: a, type: string}, {name: A, type: string}]",
            "s.yml:1: A: the same column as 'a' in line 1",
        ),
        ("fields: [{type: string}]", "s.yml:1: a field needs a name"),
        ("fields: [x]", "s.yml:1: a field must be a mapping"),
        ("fields: {}", "s.yml:1: fields must be a list"),
        ("- a", "s.yml:1: a schema must be a mapping"),
        ("fields: [{name: a, type: string, required: maybe}]", "a: required must be true or false, not 'maybe'"),
        ("fields: [{name: a, type: string, mask: {type: hide}}]", "a.mask: type must be redact or hash"),
        ("fields: [{name: a, type: int, mask: {type: hash}}]", "a: mask works on type string, not int"),
        ("fields: [{name: a, type: string, copy: {}}]", "a.copy: needs from"),
        ("fields: [{name: a, type: string, concat: {separator: x}}]", "a.concat: needs paths"),
        ("fields: [{name: a, type: string, validate: {allow: []}}]", "a.validate: allow must list texts"),
        ("fields: [{name: a, type: json, indicators: [username]}]", "a: unknown indicator 'username'"),
        ("fields: [{name: a, type: timestamp, timeFormats: ['%Q']}]", "a: %Q in the time format '%Q' is not known"),
        ("fields: [{name: a, type: timestamp, timeFormats: ['%Y %Y']}]", "stands twice"),
        ("a: 1\na: 2", "s.yml:2: 'a' stands twice, first in line 1"),
        ("lenient: true\nparser: {csv: {columns: [a]}}\nfields: [{name: a, type: string}]", "is for JSON records"),
        ("a: [", "not YAML: did not find expected node content"),
        ("a: &x {b: *x}", "s.yml:1: "),
        (
            "definitions: {A: {type: array, element: {type: ref, target: A}}}\n"
            "fields: [{name: a, type: ref, target: A}]",
            "refs go in a circle: A → A",
        ),
        ("parser: {csv: {columns: [a, b]}}\nfields: [{name: a, type: string}]", "'b' is not a field of the schema"),
        ("parser: {csv: {}}\nfields: [{name: a, type: string}]", "needs columns when there is no header line"),
        ("parser: {csv: {delimiter: '||', columns: [a]}}\nfields: [{name: a, type: string}]", "one character"),
        ("parser: {fastmach: {}}\nfields: [{name: a, type: string}]", "did you mean 'fastmatch'?"),
        ("parser: {native: {name: x}}\nfields: [{name: a, type: string}]", "native parsers are code of the vendor"),
        ("parser: {}\nfields: [{name: a, type: string}]", "needs exactly one of fastmatch, regex, csv, script"),
        ("parser: {fastmatch: {match: ['%{a}%{b}']}}\nfields: [{name: a, type: string}]", "put a delimiter between"),
        ("parser: {fastmatch: {match: [abc]}}\nfields: [{name: a, type: string}]", "has no %{field}"),
        ("parser: {regex: {match: ['(?P<a>(']}}\nfields: [{name: a, type: string}]", "not an RE2 expression"),
        (
            "parser: {regex: {match: ['%{NOPE:a}']}}\nfields: [{name: a, type: string}]",
            "no grok pattern named 'NOPE'",
        ),
        ("parser: {script: {function: 'x = 1'}}\nfields: [{name: a, type: string}]", "function must define parse"),
    ],
)
def test_mistake(text: str, message: str) -> None:
    """Each mistake has a message of its own."""
    assert any(message in found for found in mistakes(text)), mistakes(text)


def test_yaml_is_1_2() -> None:
    """`no`, `on` and `1:30` are texts, and a single text may stand for a list."""
    (schema,) = load_schemas(
        "fields: [{name: on, type: string, validate: {allow: [no, 1:30, y]}, indicators: ip}]", "s.yml", "Custom.Test"
    )
    assert schema.fields[0].name == "on"
    assert schema.fields[0].value.indicators == ("ip",)
    assert schema.fields[0].value.validate is not None
    assert schema.fields[0].value.validate.allow == ("no", "1:30", "y")


def test_a_folder_is_loaded_whole(tmp_path: Path) -> None:
    """Every YAML file below a folder counts but tests; problems of all files come together."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yml").write_text("schema: Custom.A\nfields: [{name: a, type: string}]")
    (tmp_path / "deep" / "b.yaml").write_text("schema: Custom.B\nfields: [{name: a, type: string}]")
    (tmp_path / "a_tests.yml").write_text("not: a schema")
    registry = Registry.load([tmp_path], builtin=False)
    assert registry.names == ["Custom.A", "Custom.B"]
    (tmp_path / "c.yml").write_text("schema: CUSTOM.A\nfields: [{name: a, type: strin}]")
    (tmp_path / "d.yml").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        Registry.load([tmp_path, tmp_path / "none"], builtin=False)
    assert len(caught.value.problems) == 3


def test_a_name_may_not_be_taken_twice(tmp_path: Path) -> None:
    """Two files of one log type are a mistake; one of a built-in type's name takes its place."""
    for name in "ab":
        (tmp_path / f"{name}.yml").write_text("schema: AWS.CloudTrail\nfields: [{name: only, type: string}]")
    with pytest.raises(ConfigError, match="is also defined in"):
        Registry.load([tmp_path])
    (tmp_path / "b.yml").unlink()
    registry = Registry.load([tmp_path])
    assert [field.name for field in registry.schema("AWS.CloudTrail").fields] == ["only"]


def test_an_unknown_log_type_gets_a_suggestion() -> None:
    """A misspelt name is answered with the nearest known one."""
    registry = Registry.load([])
    for name in ("AWS.Cloudtrail", "AWS.CloudTrial"):
        with pytest.raises(ConfigError, match=r"did you mean 'AWS.CloudTrail'\?"):
            registry.classifier((name,))


def test_a_wrong_expression_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """By us, with its place; the library writes nothing beside it."""
    text = "fields: [{name: a, type: string, expect: {pattern: '('}}]\nparser: {regex: {match: ['(']}}\n"
    with pytest.raises(ConfigError) as error:
        load_schemas(text, "a.yml", "Custom.A")
    assert len(error.value.problems) == 2
    assert capfd.readouterr().err == ""
