"""Tests that lookup tables carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from ingestd.cli.main import app
from tests.detections.conftest import Fork

OWNERS = "account,team,size\n1,blue,10\n2,red,20\n"


def run(fork: Fork, *options: str) -> Any:
    """The command on the folder."""
    return CliRunner().invoke(app, ["test", str(fork.root), "--jobs", "1", *options])


def table(fork: Fork, *tests: dict[str, Any], **keys: Any) -> Path:
    """A table of account owners."""
    associated = [{"LogType": "AWS.CloudTrail", "Selectors": ["accounts", "$.user.account"]}]
    item = {"AnalysisType": "lookup_table", "LookupName": "owners", "Enabled": True, "Tests": list(tests)}
    mapping = {"PrimaryKey": "account", "AssociatedLogTypes": associated}
    return fork.item("lookup_tables/owners.yml", item | {"LogTypeMap": mapping} | keys)


def case(name: str, expected: bool, log: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A test of the table."""
    return {"Name": name, "ExpectedResult": expected, "LogType": "AWS.CloudTrail", "Log": log, **more}


def test_what_a_table_knows_of_a_sample(fork: Fork) -> None:
    """Whether something is found, and what: fields that a test does not name may be anything."""
    fork.write("lookup_tables/owners.csv", OWNERS)
    path = table(
        fork,
        case("known", True, {"user": {"account": "1"}}, ExpectedEnrichment={"user.account": {"team": "blue"}}),
        case("list", True, {"accounts": ["2", "9"]}, ExpectedEnrichment={"accounts": [{"team": "red"}]}),
        case("unknown", False, {"user": {"account": "9"}}),
        case("wrong", True, {"accounts": ["1"]}, ExpectedEnrichment={"accounts": [{"team": "red"}]}),
        case("absent", True, {}),
        Filename="owners.csv",
    )
    result = run(fork, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["summary"]["kinds"] == {"lookup_table": 5}
    tests = {test["name"]: test for test in document["tests"]}
    assert [name for name, test in tests.items() if not test["passed"]] == ["wrong", "absent"]
    assert tests["wrong"]["errors"] == [
        "expected accounts to have [{'team': 'red'}],"
        " got [{'account': '1', 'team': 'blue', 'size': '10', 'p_match': '1'}]"
    ]
    assert tests["absent"]["errors"] == ["expected something to be found, got nothing"]
    assert tests["absent"]["line"] == path.read_text().splitlines().index("- Name: absent") + 1


def test_data_from_elsewhere(fork: Fork, tmp_path_factory: Any) -> None:
    """Under the name that it has where it is published, in a folder that is given; without it the tests fail."""
    table(fork, case("known", True, {"accounts": ["1"]}), Refresh={"ObjectPath": "s3://bucket/all/people.csv"})
    result = run(fork)
    assert result.exit_code == 1
    assert "no data: put people.csv into a folder" in result.stdout
    folder = tmp_path_factory.mktemp("data")
    (folder / "people.csv").write_text(OWNERS)
    assert run(fork, "--table-data", str(folder)).exit_code == 0


def test_data_that_cannot_be_read(fork: Fork) -> None:
    """Is a problem of the file, with tests or without."""
    fork.write("lookup_tables/owners.csv", "name\nx\n")
    table(fork, Filename="owners.csv")
    result = run(fork)
    assert result.exit_code == 1
    assert "owners.csv: no row has the primary key 'account'" in result.stdout


def test_mistakes_in_tests_of_tables(fork: Fork) -> None:
    """Are told as those of detections."""
    table(fork, {"Name": "t", "ExpectedResult": True, "Log": {}, "ExpectedTitle": "x"})
    result = run(fork)
    assert "Tests.0: LogType is missing" in result.stdout
    assert "Tests.0.ExpectedTitle: unknown key for a test of a lookup_table" in result.stdout


def test_choosing_tables(fork: Fork) -> None:
    """Filters, names of tests and being enabled count for tables too."""
    fork.write("lookup_tables/owners.csv", OWNERS)
    table(fork, case("known", True, {"accounts": ["1"]}), Filename="owners.csv", Enabled=False)
    test = {"Name": "t", "ExpectedResult": True, "Log": {}}
    fork.rule("Rule.A", "def rule(event):\n    return True\n", Tests=[test])
    assert "owners" in run(fork).stdout
    assert "owners" not in run(fork, "--filter", "AnalysisType=rule").stdout
    assert "owners" not in run(fork, "--test-names", "t").stdout
    assert run(fork, "--filter", "AnalysisType=lookup_table").stdout == "owners\n  pass  known\n"
    assert "1 detections skipped" in run(fork, "--skip-disabled-tests").stderr
