"""`ingestd validate PATH`: everything that is wrong in a folder of detections, at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestd.cli.main import app
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No option from the environment, no configuration in the working folder."""
    for name in [name for name in os.environ if name.startswith("INGESTD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def validate(fork: Fork, *options: str) -> tuple[int, list[str], list[str]]:
    """Exit code, problems and other lines, paths relative to the folder."""
    result: Any = CliRunner().invoke(app, ["validate", str(fork.root), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [text.replace(f"{fork.root}/", "").splitlines() for text in (result.stdout, result.stderr)]
    return result.exit_code, lines[0], lines[1]


def test_a_folder_that_is_right(fork: Fork) -> None:
    """Exit code 0, and how many there are."""
    fork.rule("A", YES, LogTypes=["AWS.CloudTrail"])
    code, problems, notes = validate(fork)
    assert (code, problems) == (0, [])
    assert notes[-1].endswith("1 detections are valid")


def test_everything_that_is_wrong(fork: Fork) -> None:
    """Exit code 1; unknown keys, ids taken twice, packs, helpers, code and tests, enabled or not, with file and
    line."""
    fork.rule("Key", YES, Treshold=5, Enabled=False)
    fork.rule("Twice", YES)
    fork.write("rules/twice.yml", "AnalysisType: rule\nRuleID: Twice\nSeverity: Low\nLogTypes: [A]\n")
    fork.item("packs/p.yml", {"AnalysisType": "pack", "PackID": "P", "PackDefinition": {"IDs": ["Twise"]}})
    fork.helper("broken", "import nothing_of_this_name\n")
    fork.rule("Code", "def rule(event)\n", Enabled=False)
    fork.rule("Tests", YES, Tests=[{"Name": "t", "ExpectedResult": True, "Lög": {}}])
    code, problems, notes = validate(fork)
    assert code == 1
    for said in (
        "rules/Key.yml:8: Treshold: unknown key for a rule (did you mean 'Threshold'?)",
        "rules/twice.yml:2: RuleID: the id 'Twice' is taken by rules/Twice.yml",
        "packs/p.yml:5: PackDefinition.IDs.0: no item has the id 'Twise' (did you mean 'Twice'?)",
        "global_helpers/broken.py:1: cannot import 'nothing_of_this_name'"
        " (neither an installed module nor a GlobalID)",
        "rules/Code.py:1: syntax error: expected ':'",
        "rules/Tests.yml:9: Tests.0: Log is missing",
    ):
        assert said in problems
    assert notes[-1] == f"{len(problems)} problems"


def test_what_would_never_run(fork: Fork) -> None:
    """A warning each: exit code 0, since a fork holds more than is used."""
    fork.rule("NoType", YES, LogTypes=[])
    fork.rule("Unknown", YES, LogTypes=["AWS.CloudTrial"])
    fork.rule("Some", YES, LogTypes=["AWS.CloudTrail", "My.Own"])
    fork.rule("Off", YES, LogTypes=["AWS.CloudTrail"], Enabled=False)
    fork.rule("Query", YES, AnalysisType="scheduled_rule", ScheduledQueries=["Q", "Gone"])
    fork.item("queries/q.yml", {
        "AnalysisType": "scheduled_query", "QueryName": "Q", "Query": "SELECT 1", "Enabled": False,
        "Schedule": {"RateMinutes": 60, "TimeoutMinutes": 5},
    })  # fmt: skip
    steps = [{"ID": "One", "RuleID": "Off"}, {"ID": "Two", "RuleID": "Some"}]
    fork.rule("Joined", AnalysisType="correlation_rule", Detection=[{"Group": steps}])
    fork.write("rules/forgotten.yml", "# a rule\nRuleID: Forgotten\nEnabled: true\n")
    fork.write("rules/forgotten.py", "import re\n" + YES)
    code, problems, notes = validate(fork)
    assert (code, problems) == (0, [])
    assert sorted(notes[:-1]) == [
        "warning: rules/Joined.yml:5: Detection: never finds anything: step 'One' waits for 'Off',"
        " which is not enabled",
        "warning: rules/NoType.yml:5: LogTypes: never runs: it names no log type",
        "warning: rules/Query.yml:6: ScheduledQueries: never runs: the query 'Q' is not enabled;"
        " there is no query 'Gone'",
        "warning: rules/Some.yml:7: LogTypes.1: no schema for log type 'My.Own'",
        "warning: rules/Unknown.yml:6: LogTypes.0: never runs: no schema for log type 'AWS.CloudTrial'"
        " (did you mean 'AWS.CloudTrail'?)",
        "warning: rules/forgotten.py:2: never runs: no YAML names this file",
        "warning: rules/forgotten.yml:2: is passed over: it has no AnalysisType",
    ]


def test_code_whose_yaml_cannot_be_read_is_not_told_as_well(fork: Fork) -> None:
    """A YAML names it, and what is wrong with that is told."""
    fork.rule("Rule.A", YES)
    for name in ("broken", "twice"):
        fork.write(f"rules/{name}.py", YES)
    fork.write("rules/broken.yml", "AnalysisType: rule\n\tRuleID: x\n")
    fork.write("rules/twice.yml", (fork.root / "rules/Rule.A.yml").read_text())
    code, problems, notes = validate(fork)
    assert (code, len(problems)) == (1, 2)
    assert not [note for note in notes if "no YAML names" in note]


def test_log_types_of_a_configuration_are_known(fork: Fork) -> None:
    """Those of its schemas, found as always or by --config; the rest of it does not matter."""
    fork.rule("A", YES, LogTypes=["My.Own"])
    Path("schemas").mkdir()
    Path("schemas/own.yml").write_text("schema: My.Own\nfields:\n  - {name: at, type: string}\n")
    Path("ingestd.yml").write_text("schemas: {paths: [schemas/]}\n")
    _, _, notes = validate(fork)
    assert not any("My.Own" in note for note in notes)
    _, _, notes = validate(fork, "--config", "ingestd.yml")
    assert not any("My.Own" in note for note in notes)


def test_a_folder_without_detections(fork: Fork) -> None:
    """Exit code 1: a mistyped path is no success."""
    code, _, notes = validate(fork)
    assert code == 1
    assert "there is no detection in" in notes[-1]


def test_json(fork: Fork) -> None:
    """Problems and warnings with file, line and path."""
    fork.rule("A", YES, LogTypes=[], Severity="Loud")
    code, lines, _ = validate(fork, "--json")
    answer = json.loads("\n".join(lines))
    assert code == 1
    assert answer["ok"] is False
    assert answer["problems"][0]["path"] == "Severity"
    assert answer["warnings"][0]["line"] == 5


def test_what_files_say_does_not_steer_a_terminal(fork: Fork) -> None:
    """Control characters are left out of what is printed."""
    fork.write("rules/odd.yml", 'AnalysisType: rule\nRuleID: "A\\e[2J"\n"\\e]0;owned\\a": 1\n')
    code, problems, _ = validate(fork)
    assert code == 1
    assert any("0;owned" in line for line in problems)
    assert all(line.isprintable() for line in problems)


def test_a_selector_that_names_no_field(fork: Fork) -> None:
    """A warning: the table would be asked for nothing."""
    fork.write("lookup_tables/t.csv", "k,v\n1,x\n")
    selectors = ["recipientAccountId", "$.userIdentity.accountId", "$.resources[*].ARN"]
    types = [{"LogType": "AWS.CloudTrail", "Selectors": selectors}]
    data = {"AnalysisType": "lookup_table", "LookupName": "t", "Enabled": True, "Filename": "t.csv"}
    fork.item("lookup_tables/t.yml", data | {"LogTypeMap": {"PrimaryKey": "k", "AssociatedLogTypes": types}})
    fork.rule("A", YES, LogTypes=["AWS.CloudTrail"])
    code, problems, notes = validate(fork)
    assert (code, problems) == (0, [])
    said = "LogTypeMap.AssociatedLogTypes: never finds anything by '$.resources[*].ARN'"
    assert any(said in note and note.startswith("warning: lookup_tables/t.yml:") for note in notes)
