"""Lookup tables as items of a fork: what is taken of them, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from ingestd.detections import lookups
from ingestd.detections.event import PantherEvent
from ingestd.detections.immutable import ImmutableCaseInsensitiveDict
from ingestd.errors import ConfigError
from tests.detections.conftest import Fork

MAP = {"PrimaryKey": "ip", "AssociatedLogTypes": [{"LogType": "A", "Selectors": ["x", "$.y.z"]}]}


def table(fork: Fork, name: str = "T", **keys: Any) -> None:
    """A lookup table."""
    data = {"AnalysisType": "lookup_table", "LookupName": name, "Enabled": True, "LogTypeMap": MAP}
    fork.item(f"lookup_tables/{name}.yml", {**data, **keys})


def test_a_table_says_where_its_data_is_and_what_it_is_for(fork: Fork) -> None:
    """A file beside it, or the name under which it is published; selectors of one log type come together."""
    fork.write("lookup_tables/own.csv", "ip\n")
    table(fork, "Own", Filename="own.csv", Schema="My.Table")
    uses = [{"LogType": "A", "Selectors": ["x"]}, {"LogType": "A", "Selectors": ["x", "y"]}]
    refresh = {"ObjectPath": "s3://bucket/some/tor.csv.gz", "PeriodMinutes": 60}
    table(fork, "Far", Refresh=refresh, LogTypeMap={"PrimaryKey": "k", "AssociatedLogTypes": uses})
    table(fork, "Query", Query="select 1", LogTypeMap={"PrimaryKey": "k", "AssociatedLogTypes": []})
    table(fork, "Off", Enabled=False)
    tables = fork.load().lookup_tables
    assert list(tables) == ["Far", "Own", "Query"]
    assert (tables["Own"].file, tables["Own"].schema) == (str(fork.root / "lookup_tables" / "own.csv"), "My.Table")
    assert tables["Own"].selectors == {"A": ("x", "$.y.z")}
    assert (tables["Far"].file, tables["Far"].object_name) == ("", "tor.csv.gz")
    assert tables["Far"].selectors == {"A": ("x", "y")}
    assert (tables["Query"].file, tables["Query"].object_name, tables["Query"].selectors) == ("", "", {})


def test_tables_are_switched_like_detections(fork: Fork) -> None:
    """By packs, by enable and by disable."""
    for name in ("On", "Packed", "Off"):
        table(fork, name, Enabled=name != "Off")
    pack = {"AnalysisType": "pack", "PackID": "P", "PackDefinition": {"IDs": ["Packed"]}}
    fork.item("packs/p.yml", pack)
    assert list(fork.load(packs=("P",)).lookup_tables) == ["Packed"]
    assert list(fork.load(enable=("Off",)).lookup_tables) == ["Off", "On", "Packed"]
    assert list(fork.load(disable=("On",)).lookup_tables) == ["Packed"]


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"LogTypeMap": None}, "LogTypeMap is missing"),
        ({"LogTypeMap": {"AssociatedLogTypes": []}}, "names the field of a row"),
        ({"LogTypeMap": {"PrimaryKey": ["a"]}}, "names the field of a row"),
        ({"LogTypeMap": {"PrimaryKey": "a", "AssociatedLogTypes": {"A": ["x"]}}}, "must be a list"),
        ({"LogTypeMap": {"PrimaryKey": "a", "AssociatedLogTypes": ["A"]}}, "has a LogType and a list of Selectors"),
        ({"LogTypeMap": {"PrimaryKey": "a", "AssociatedLogTypes": [{"LogType": "A"}]}}, "a list of Selectors"),
        (
            {"LogTypeMap": {"PrimaryKey": "a", "AssociatedLogTypes": [{"LogType": "A", "Selectors": [1]}]}},
            "Selectors",
        ),
        ({"Filename": "absent.csv"}, "'absent.csv' does not exist"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_its_place(fork: Fork, keys: dict[str, Any], wanted: str) -> None:
    """File and line."""
    table(fork, **keys)
    with pytest.raises(ConfigError) as raised:
        fork.load()
    (problem,) = raised.value.problems
    assert wanted in problem.message
    assert str(problem.file).endswith("T.yml")
    assert problem.line


def test_an_event_looks_up_rows_in_the_tables_that_there_are() -> None:
    """In the daemon from its tables, whatever fields an event has; in tests from the sample. Rows are read-only."""
    spoofed = PantherEvent({"_mocked_lookup_data_": {"t": {"k": {"from": "the event"}}}})
    assert spoofed.lookup("t", "k") == {"from": "the event"}
    lookups.connect(_rows)
    try:
        row = spoofed.lookup("t", "k")
        assert row["from"] == "the table"
        assert isinstance(row["deep"], ImmutableCaseInsensitiveDict)
        for name, key in (("t", "absent"), ("absent", "k")):
            with pytest.raises(KeyError):
                spoofed.lookup(name, key)
    finally:
        lookups.connect(None)


def _rows(name: str, key: Any) -> dict[str, Any] | None:
    return {"t": {"k": {"from": "the table", "deep": {"A": 1}}}}[name].get(key)
