"""What runs by the clock: when, and which queries and rules that are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestd.detections.timetable import PublishedTable, Schedule
from ingestd.errors import ConfigError
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


def at(text: str) -> float:
    """A time of day on 1 May 2026."""
    return datetime.fromisoformat(f"2026-05-01T{text}").replace(tzinfo=UTC).timestamp()


def test_what_runs_at_a_rate_begins_at_once_and_makes_up_for_one_turn() -> None:
    """After a pause the last turn that was missed, and then the next in step."""
    schedule = Schedule(rate_minutes=60)
    assert schedule.first(at("10:15")) == at("10:15")
    assert schedule.latest(at("10:15"), at("10:16")) == at("10:15")
    assert schedule.latest(at("10:15"), at("13:20")) == at("13:15")
    assert schedule.following(at("13:15")) == at("14:15")


def test_what_runs_by_cron_begins_at_its_time_and_makes_up_for_one_turn() -> None:
    """In UTC."""
    schedule = Schedule(cron="0 */2 * * *")
    assert schedule.first(at("10:15")) == at("12:00")
    assert schedule.latest(at("12:00"), at("12:01")) == at("12:00")
    assert schedule.latest(at("12:00"), at("17:20")) == at("16:00")
    assert schedule.following(at("16:00")) == at("18:00")


def query(fork: Fork, name: str = "Q", **keys: Any) -> None:
    """A scheduled query, every hour."""
    data = {"AnalysisType": "scheduled_query", "QueryName": name, "Enabled": True, "Query": "select 1"}
    fork.item(f"queries/{name}.yml", {**data, "Schedule": {"RateMinutes": 60, "TimeoutMinutes": 2}, **keys})


def test_queries_run_that_are_enabled_and_that_an_enabled_rule_is_for(fork: Fork) -> None:
    """A query without a rule has nobody to tell."""
    fork.rule("R", YES, AnalysisType="scheduled_rule", ScheduledQueries=["Q", "Off"])
    fork.rule("Disabled", YES, AnalysisType="scheduled_rule", ScheduledQueries=["Q", "Lone"], Enabled=False)
    query(fork)
    query(fork, "Off", Enabled=False)
    query(fork, "Lone")
    [found] = fork.load().timetable().queries
    assert (found.name, found.rules, found.sql) == ("Q", ("R",), "select 1")
    assert found.schedule == Schedule(rate_minutes=60, timeout_minutes=2)


def test_a_query_may_be_switched_off_by_the_configuration(fork: Fork) -> None:
    """As detections may."""
    fork.rule("R", YES, AnalysisType="scheduled_rule", ScheduledQueries=["Q"])
    query(fork)
    assert fork.load(disable=("Q",)).timetable().queries == ()


def test_correlation_rules_run_that_are_enabled(fork: Fork) -> None:
    """With their look-back, rate and time."""
    fork.rule("A", YES)
    steps = [{"ID": "A", "RuleID": "A"}]
    detection = [{"Group": steps, "LookbackWindowMinutes": 30, "Schedule": {"RateMinutes": 5, "TimeoutMinutes": 1}}]
    fork.rule("C", AnalysisType="correlation_rule", Detection=detection)
    fork.rule("Off", AnalysisType="correlation_rule", Detection=detection, Enabled=False)
    timetable = fork.load().timetable()
    assert list(timetable.correlations) == ["C"]
    assert timetable.sightings_kept_secs == 60 * (5 + 2 * 30)
    [correlation] = timetable.correlations["C"]
    assert (correlation.rate_minutes, correlation.timeout_minutes) == (5, 1)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"Schedule": None}, "Schedule is missing"),
        ({"Schedule": {}}, "either RateMinutes or CronExpression"),
        ({"Schedule": {"RateMinutes": 0}}, "number of minutes above 0"),
        ({"Schedule": {"RateMinutes": 5, "TimeoutMinutes": "5"}}, "number of minutes above 0"),
        ({"Schedule": {"CronExpression": "every day"}}, "no cron expression"),
        ({"Query": None}, "Query must be text"),
    ],
)
def test_a_query_that_cannot_be_scheduled_is_a_problem(fork: Fork, keys: dict[str, Any], said: str) -> None:
    """With file and line."""
    query(fork, **keys)
    with pytest.raises(ConfigError, match=said) as raised:
        fork.load()
    assert raised.value.problems[0].file == str(fork.root / "queries/Q.yml")


def test_tables_whose_data_is_published_are_known(fork: Fork) -> None:
    """Those that are enabled and have no file of their own."""
    mapping = {"PrimaryKey": "id", "AssociatedLogTypes": []}
    table = {"AnalysisType": "lookup_table", "Enabled": True, "LogTypeMap": mapping}
    refresh = {"ObjectPath": "s3://bucket/luts/users.csv", "PeriodMinutes": 60, "RoleARN": "arn"}
    fork.item("a.yml", {**table, "LookupName": "users", "Refresh": refresh})
    fork.item("b.yml", {**table, "LookupName": "off", "Refresh": refresh, "Enabled": False})
    fork.item("c.yml", {**table, "LookupName": "own", "Filename": "own.csv"})
    fork.write("own.csv", "id\n1\n")
    [found] = fork.load().timetable().tables
    assert found == PublishedTable(name="users", url="s3://bucket/luts/users.csv", period_minutes=60)
