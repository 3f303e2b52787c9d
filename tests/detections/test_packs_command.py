"""`ingestd packs`: what packs name, and whether they are complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestd.cli.main import app
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


def packs(fork: Fork, *arguments: str) -> Any:
    """The command on the folder."""
    return CliRunner().invoke(app, ["packs", *arguments, "--path", str(fork.root)])


def pack(fork: Fork, name: str, *ids: str) -> None:
    """A pack of these ids."""
    data = {
        "AnalysisType": "pack",
        "PackID": name,
        "DisplayName": f"All of {name}",
        "PackDefinition": {"IDs": [*ids]},
    }
    fork.item(f"packs/{name}.yml", data)


@pytest.fixture
def filled(fork: Fork) -> Fork:
    """A rule that needs a helper which needs another, a model, and a scheduled rule with its query."""
    fork.helper("inner_helper", "X = 1\n")
    fork.helper("outer_helper", "from inner_helper import X\n")
    fork.helper("idle_helper", "X = 1\n")
    fork.rule("A", "from outer_helper import X\ndef rule(event):\n    return event.udm('who') == X\n")
    model = {"AnalysisType": "datamodel", "DataModelID": "M", "LogTypes": ["Test.Log"], "Enabled": True}
    fork.item("data_models/m.yml", model | {"Mappings": [{"Name": "who", "Path": "user"}]})
    fork.rule("Q.Rule", YES, AnalysisType="scheduled_rule", ScheduledQueries=["Q"], Enabled=False)
    fork.item("queries/q.yml", {"AnalysisType": "scheduled_query", "QueryName": "Q", "Query": "x", "Enabled": True})
    return fork


def test_list_and_show(filled: Fork) -> None:
    """Counts of all; type, id and place of one's members."""
    pack(filled, "Pack.P", "A", "Q.Rule", "outer_helper")
    (row,) = [json.loads(line) for line in packs(filled, "list", "--json").stdout.splitlines()]
    assert row == {"pack": "Pack.P", "name": "All of Pack.P", "items": 3, "detections": 2}
    rows = [json.loads(line) for line in packs(filled, "show", "Pack.P", "--json").stdout.splitlines()]
    assert [(row["type"], row["id"], row["enabled"]) for row in rows] == [
        ("global", "outer_helper", None),
        ("rule", "A", True),
        ("scheduled_rule", "Q.Rule", False),
    ]
    unknown = packs(filled, "show", "Pack")
    assert unknown.exit_code == 2
    assert "did you mean 'Pack.P'?" in unknown.stderr


def test_check(filled: Fork) -> None:
    """Exit code 1 for what is missing, with the reason; what is there for nothing is told."""
    pack(filled, "Lacking", "A", "Q.Rule", "outer_helper", "idle_helper")
    result = packs(filled, "check", "--json")
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["item"], row["what"]) for row in found] == [
        ("M", "missing"), ("Q", "missing"), ("idle_helper", "extra"), ("inner_helper", "missing"),
    ]  # fmt: skip
    assert found[0]["why"] == "A asks for standard fields of Test.Log"
    assert "1 packs: 3 items are missing, 1 extra" in result.stderr


def test_a_complete_pack(filled: Fork) -> None:
    """Exit code 0."""
    pack(filled, "Whole", "A", "Q.Rule", "Q", "M", "outer_helper", "inner_helper")
    assert packs(filled, "check").exit_code == 0


def test_ids_that_nothing_has(filled: Fork) -> None:
    """Are missing, with file and line."""
    pack(filled, "Wrong", "Aa")
    result = packs(filled, "check")
    assert result.exit_code == 1
    assert "Wrong.yml:6: PackDefinition.IDs.0: no item has the id 'Aa'" in result.stdout


def test_a_folder_without_packs(fork: Fork) -> None:
    """Exit code 1: nothing was checked."""
    fork.rule("A", YES)
    assert packs(fork, "check").exit_code == 1


@pytest.mark.parametrize("command", [["list"], ["check"], ["show", "P"]])
def test_a_folder_that_does_not_exist(tmp_path: Path, command: list[str]) -> None:
    """Exit code 2: a mistyped path is no folder without packs."""
    result = CliRunner().invoke(app, ["packs", *command, "--path", str(tmp_path / "gone")])
    assert result.exit_code == 2
    assert "there is no file or folder" in result.stderr
