"""The configuration as text and as a JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ingestd.config import components, show
from ingestd.config.document import Document
from ingestd.config.load import load
from ingestd.config.models import DestinationConfig, Model, SourceConfig

from .conftest import Write

CONFIG = """\
    sources:
      a: {type: directory, path: ./in, routes: [{prefix: x/, framing: lines}]}
    destinations:
      d: {type: slack, webhook_url: {env: SLACK}}
    lake: {url: "https://user:hunter2@host/lake?sig=abcdef"}
    http: {token: {file: ./token}}
    """


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """A validator of the generated schema, which must itself be valid."""
    schema = show.json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(validator: Draft202012Validator, value: Any) -> list[str]:
    """Where a value breaks the schema."""
    return sorted(".".join(map(str, error.absolute_path)) for error in validator.iter_errors(value))


def test_what_is_printed_is_a_configuration_again(write: Write, tmp_path: Path) -> None:
    """The printed configuration, read again, is the same one."""
    root = load(write(CONFIG.replace("user:hunter2@host/lake?sig=abcdef", "host/lake")))
    again = load(write(show.as_yaml(root), "again.yml"))
    assert again == root


def test_no_secret_is_printed(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are references, credentials in URLs are hidden."""
    monkeypatch.setenv("SLACK", "https://hooks.slack.com/services/T/B/x")
    root = load(write(CONFIG))
    shown = show.as_yaml(root)
    assert "hunter2" not in shown
    assert "abcdef" not in shown
    assert "hooks.slack.com" not in shown
    assert "env: SLACK" in shown
    assert show.as_json(root)["http"]["token"] == {"file": str(tmp_path / "token")}


def test_the_schema_takes_what_the_loader_takes(validator: Draft202012Validator, write: Write) -> None:
    """A valid file is valid for an editor as well, variables, units and short forms included."""
    text = CONFIG + "    workers: {count: '${WORKERS:-2}', memory_bytes: 64MiB, rule_secs: 500ms}\n"
    document = Document(write(text), {"WORKERS": "2"})
    assert problems(validator, document.value) == []
    assert problems(validator, {"workers": {"count": "${WORKERS}"}, "http": {"debug": "${DEBUG}"}}) == []


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"sauces": {}}, ""),
        ({"sources": {"a": {"path": "x"}}}, "sources.a"),
        ({"sources": {"a": {"type": "directory"}}}, "sources.a"),
        ({"sources": {"a": {"type": "directory", "path": "x", "pth": 1}}}, "sources.a"),
        ({"sources": {"a": {"type": "nope"}}}, "sources.a.type"),
        ({"sources": {"a b": {"type": "memory"}}}, "sources"),
        ({"http": {"token": "hunter2"}}, "http.token"),
        ({"workers": {"count": "many"}}, "workers.count"),
        ({"logging": {"level": "loud"}}, "logging.level"),
        ({"lake": {"rotate_secs": "soon"}}, "lake.rotate_secs"),
    ],
)
def test_the_schema_finds_mistakes(validator: Draft202012Validator, value: Any, where: str) -> None:
    """An editor marks what the loader would refuse, at its place."""
    assert where in problems(validator, value)


@pytest.mark.parametrize(("kind", "common"), [("sources", SourceConfig), ("destinations", DestinationConfig)])
def test_every_key_is_described(kind: components.Kind, common: type[Model]) -> None:
    """Each key that a component adds has a description, which is what an editor and the reference show."""
    missing = [
        f"{name}.{key}"
        for name in components.names(kind)
        for key, field in components.load(kind, name).Config.model_fields.items()
        if not field.description and key not in common.model_fields
    ]
    assert missing == []


def test_the_schema_is_json() -> None:
    """It can be written to a file as it is."""
    assert json.loads(json.dumps(show.json_schema()))["$schema"] == show.SCHEMA_ID
