"""`ingestd parse`: what becomes of the records in files."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from .conftest import Ingestd

SCHEMA = """\
schema: Custom.Shop
fields:
  - {name: order, type: bigint, required: true}
  - {name: at, type: timestamp, timeFormats: [rfc3339], isEventTime: true}
"""
ORDER = {"order": 7, "at": "2024-05-01T10:00:00Z"}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A schema of the user's own."""
    file = tmp_path / "shop.yml"
    file.write_text(SCHEMA)
    return file


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration."""
    monkeypatch.chdir(tmp_path)


def test_events_on_stdout_and_the_summary_on_stderr(ingestd: Ingestd, tmp_path: Path, schema: Path) -> None:
    """Each event is a line of JSON, compressed files and folders are read."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.json.gz").write_bytes(gzip.compress(json.dumps(ORDER).encode()))
    ended = ingestd("parse", "--schemas", schema, tmp_path / "logs")
    assert ended.code == 0
    event = json.loads(ended.out)
    assert (event["p_log_type"], event["p_event_time"][:19]) == ("Custom.Shop", "2024-05-01 10:00:00")
    assert "1 events, 0 rejects" in ended.err


def test_schemas_of_the_configuration(ingestd: Ingestd, config: Path, schema: Path, tmp_path: Path) -> None:
    """`-c` names a configuration, whose schemas count."""
    config.write_text(config.read_text() + f"schemas: {{paths: [{schema}]}}\n")
    (tmp_path / "a").write_text(json.dumps(ORDER))
    assert json.loads(ingestd("parse", "-c", config, tmp_path / "a").out)["p_log_type"] == "Custom.Shop"


def test_what_does_not_parse_is_told_and_is_exit_code_1(ingestd: Ingestd, tmp_path: Path, schema: Path) -> None:
    """A reject says file, record and why; its neighbours come out."""
    (tmp_path / "a").write_text('{"order": "x"}\nnot json\n' + json.dumps(ORDER))
    ended = ingestd("parse", "--schemas", schema, "--log-type", "Custom.Shop", tmp_path / "a")
    assert ended.code == 1
    assert len(ended.out.splitlines()) == 1
    assert "a: record 0: invalid: order:" in ended.err
    assert "1 events, 2 rejects" in ended.err


def test_json_says_why_it_is_none_of_the_others(ingestd: Ingestd, tmp_path: Path, schema: Path) -> None:
    """Every candidate but the one taken is named with its reason."""
    (tmp_path / "a").write_text(json.dumps(ORDER))
    (answer,) = map(json.loads, ingestd("parse", "--json", "--schemas", schema, tmp_path / "a").out.splitlines())
    assert (answer["record"], answer["log_type"], answer["event"]["order"]) == (0, "Custom.Shop", 7)
    assert "required, but absent" in answer["not"]["AWS.CloudTrail"]
    assert "Custom.Shop" not in answer["not"]


def test_stdin(ingestd: Ingestd, schema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is what comes in."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(ORDER).encode())))
    assert json.loads(ingestd("parse", "--schemas", schema, "-").out)["order"] == 7


def test_no_such_file_and_no_such_log_type(ingestd: Ingestd, tmp_path: Path) -> None:
    """A wrong path is a mistake of usage; a wrong log type comes with a suggestion."""
    assert ingestd("parse", tmp_path / "nope").code == 2
    (tmp_path / "a").write_text("{}")
    ended = ingestd("parse", "--log-type", "AWS.Cloudtrail", tmp_path / "a")
    assert ended.code == 78
    assert "AWS.CloudTrail" in ended.err
