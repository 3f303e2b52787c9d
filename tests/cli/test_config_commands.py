"""validate, print-config, config-schema, init."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Ingestd


def test_a_valid_configuration(ingestd: Ingestd, config: Path) -> None:
    """Nothing on stdout, a word on stderr, code 0."""
    ended = ingestd("validate", "-c", config)
    assert (ended.code, ended.out) == (0, "")
    assert "is valid (sources: 1, detections: 0, destinations: 1)" in ended.err
    assert "nothing makes an alert" in ended.err


def test_mistakes_of_every_kind_at_once(ingestd: Ingestd, config: Path, tmp_path: Path) -> None:
    """Mistakes of the configuration, of schemas and of detections are told in one run, each with file and line."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "a.yml").write_text("schema: Custom.A\nfields:\n  - name: a\n    type: strung\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "r.yml").write_text(
        "AnalysisType: rule\nRuleID: R\nEnabled: true\nFilename: missing.py\n"
        "Severity: Info\nLogTypes: [AWS.CloudTrail]\n"
    )
    config.write_text(
        config.read_text()
        + "schemas: {paths: [schemas]}\nlake: {rotate: 5}\ndetections:\n  paths: [rules]\n  packs:\n    - Gone\n"
    )
    ended = ingestd("validate", "-c", config)
    assert ended.code == 78
    places = (
        "ingestd.yml:5: lake.rotate",
        "ingestd.yml:9: detections.packs[0]",
        "schemas/a.yml:4:",
        "rules/r.yml:4:",
    )
    for place in places:
        assert place in ended.out, ended.out
    told = json.loads(ingestd("validate", "-c", config, "--json").out)
    assert told["ok"] is False
    assert len(told["problems"]) == len(ended.out.splitlines())
    assert {"file", "line", "path", "message", "hint"} >= told["problems"][0].keys()


def test_valid_as_json(ingestd: Ingestd, config: Path) -> None:
    """For scripts: whether it is valid and which files were read."""
    told = json.loads(ingestd("validate", "-c", config, "--json").out)
    assert told == {"ok": True, "problems": [], "warnings": [], "files": [str(config)]}


def test_a_rule_that_prints(ingestd: Ingestd, config: Path, tmp_path: Path) -> None:
    """What rule code prints while it is loaded does not mix with the results."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "r.py").write_text("print('hello from the rule')\n\ndef rule(event):\n    return True\n")
    (tmp_path / "rules" / "r.yml").write_text(
        "AnalysisType: rule\nRuleID: R\nEnabled: true\nFilename: r.py\nSeverity: Info\nLogTypes: [AWS.CloudTrail]\n"
    )
    config.write_text(config.read_text() + "detections: {paths: [rules]}\n")
    assert json.loads(ingestd("validate", "-c", config, "--json").out)["ok"] is True


def test_a_missing_file(ingestd: Ingestd, tmp_path: Path) -> None:
    """A configuration that is not there is bad configuration, in one line."""
    ended = ingestd("print-config", "-c", tmp_path / "no.yml")
    assert (ended.code, ended.out) == (78, "")
    assert ended.err == f"{tmp_path / 'no.yml'}: cannot be read: No such file or directory\n"


def test_print_config(ingestd: Ingestd, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed has every default and no secret, as YAML or JSON."""
    monkeypatch.setenv("TOKEN_OF_THE_TEST", "s3cr3t-value")
    config.write_text(config.read_text().replace("http: {", "http: {token: {env: TOKEN_OF_THE_TEST}, "))
    text = ingestd("print-config", "-c", config).out
    assert "retention_days: 30" in text
    assert "s3cr3t-value" not in text
    assert json.loads(ingestd("print-config", "-c", config, "--json").out)["http"]["token"] == {
        "env": "TOKEN_OF_THE_TEST"
    }


def test_config_schema(ingestd: Ingestd) -> None:
    """The JSON Schema comes with every source and destination type."""
    schema = json.loads(ingestd("config-schema").out)
    assert schema["title"] == "ingestd"
    assert "directory" in json.dumps(schema["properties"]["sources"])


def test_init(ingestd: Ingestd, tmp_path: Path) -> None:
    """What init writes is valid at once, and is never overwritten unasked."""
    folder = tmp_path / "new"
    ended = ingestd("init", folder)
    assert ended.code == 0
    assert ended.out.splitlines() == [str(folder / "ingestd.yml"), str(folder / "ingestd.schema.json")]
    assert ingestd("validate", "-c", folder / "ingestd.yml").code == 0
    (folder / "ingestd.yml").write_text("mine")
    again = ingestd("init", folder)
    assert again.code == 2
    assert "--force" in again.err
    assert (folder / "ingestd.yml").read_text() == "mine"
    assert ingestd("init", folder, "--force").code == 0
    assert (folder / "ingestd.yml").read_text() != "mine"


def test_init_where_nothing_can_be_written(ingestd: Ingestd, tmp_path: Path) -> None:
    """A folder that cannot be made is a usage error."""
    (tmp_path / "file").write_text("")
    assert ingestd("init", tmp_path / "file" / "sub").code == 2


def test_doctor_tries_the_secrets_of_detections(ingestd: Ingestd, config: Path, tmp_path: Path) -> None:
    """Where each should be, and what is not there; never what it is."""
    (tmp_path / "key").write_text("the-key-itself\n")
    values = "{panther-analysis/a: {file: key}, panther-analysis/b: {env: NO_SUCH_VARIABLE}}"
    config.write_text(config.read_text() + f"detections: {{secrets: {{values: {values}}}}}\n")
    (tmp_path / "inbox").mkdir()
    ended = ingestd("doctor", "--json", "-c", config)
    rows = {row["part"]: row for row in map(json.loads, ended.out.splitlines())}
    assert ended.code == 1
    assert rows["secret panther-analysis/a"]["ok"]
    assert not rows["secret panther-analysis/b"]["ok"]
    assert "NO_SUCH_VARIABLE" in rows["secret panther-analysis/b"]["detail"]
    assert "the-key-itself" not in ended.out + ended.err
