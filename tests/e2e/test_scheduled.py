"""Work by the clock, end to end: files in, a signal, a correlation's alert at the destination; a query's turn, an
alert."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingestd import failpoints
from tests.e2e.place import Place, event

ALWAYS = 0.001
"""Minutes: due again at the next look."""
CREATED = """
def rule(event):
    return event.get("eventName") == "CreateUser"

def alert_context(event):
    return {"who": event.deep_get("userIdentity", "userName")}
"""
DELETED = 'def rule(event):\n    return event.get("eventName") == "DeleteUser"\n'
MANY = """
def rule(event):
    return event["calls"] > 1

def title(event):
    return f"{event['who']} made {event['calls']} calls to {sorted(event['names'])}"

def dedup(event):
    return event["who"]
"""
QUERY = """
SELECT userIdentity:userName AS who, count(*) AS calls, array_agg(DISTINCT eventName) AS names
FROM panther_logs.public.aws_cloudtrail
WHERE p_occurs_since('3650 days') AND requestParameters:bucketName = 'b1'
GROUP BY who
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A signal, a rule, and a correlation rule that joins them."""
    place = Place(tmp_path / "place")
    place.rule("Created", CREATED, CreateAlert=False)
    place.rule("Deleted", DELETED)
    correlation(place)
    return place


def correlation(place: Place, **keys: Any) -> None:
    """A user that is created by, and one that is deleted by, the same user."""
    steps = [{"ID": "C", "RuleID": "Created"}, {"ID": "D", "RuleID": "Deleted"}]
    fields = ("p_alert_context.who", "userIdentity.userName")
    criteria = {"who": [{"GroupID": step["ID"], "Match": field} for step, field in zip(steps, fields, strict=True)]}
    group = {
        "Group": steps,
        "MatchCriteria": criteria,
        "LookbackWindowMinutes": 60,
        "Schedule": {"RateMinutes": ALWAYS, "TimeoutMinutes": 1},
        **keys,
    }
    data = {"AnalysisType": "correlation_rule", "RuleID": "Both", "DisplayName": "Created and deleted"}
    place.item("Both", {**data, "Enabled": True, "Severity": "Critical", "Detection": [group]})


def query(place: Place, sql: str = QUERY, *, name: str = "Many", rate: float = 60.0) -> None:
    """A scheduled query and its rule."""
    data = {"AnalysisType": "scheduled_query", "QueryName": f"Query.{name}", "Enabled": True, "Query": sql}
    place.item(f"{name}-query", {**data, "Schedule": {"RateMinutes": rate, "TimeoutMinutes": 1}})
    rule = {"AnalysisType": "scheduled_rule", "RuleID": name, "Enabled": True, "Severity": "Low"}
    place.item(name, {**rule, "Filename": f"{name}.py", "ScheduledQueries": [f"Query.{name}"]}, MANY)


def call(name: str, who: str) -> dict[str, Any]:
    """A call by a user, to a bucket."""
    identity = {"type": "IAMUser", "userName": who}
    parameters = {"bucketName": "b1"}
    return event(name, eventID=f"{name}-{who}", userIdentity=identity, requestParameters=parameters)


def alerts_of(place: Place, detection_id: str) -> list[dict[str, Any]]:
    """What the destination got of a detection."""
    return [alert for alert in place.alerts() if alert["detection_id"] == detection_id]


def test_a_signal_and_a_match_become_an_alert(place: Place) -> None:
    """The signal itself makes none; the finding says what was in common and which rows it is made of, and lies in the
    lake with the id of its alert. What was found is not found again."""
    place.drop("a.json", [call("CreateUser", "ana"), call("DeleteUser", "bob")])
    place.run()
    assert [alert["detection_id"] for alert in place.alerts()] == ["Deleted"]
    place.drop("b.json", [call("DeleteUser", "ana")])
    place.run()
    place.run()
    [alert] = alerts_of(place, "Both")
    assert (alert["title"], alert["severity"], alert["dedup"]) == ("Created and deleted", "CRITICAL", "ana")
    context = alert["context"]
    assert context["values"] == {"p_alert_context.who = userIdentity.userName": "ana"}
    assert [match["rule_id"] for match in context["matches"]] == ["Created", "Deleted"]
    rows = place.rows("rule_matches", "p_rule_id", "p_row_id", "p_alert_id")
    assert {row[1] for row in rows if row[0] == "Created"} == {context["matches"][0]["p_row_id"]}
    assert [row[2] for row in rows if row[0] == "Both"] == [alert["alert_id"]]


def test_rows_of_a_query_are_the_events_of_its_rules(place: Place) -> None:
    """The query is the warehouse's SQL, over what the same run has committed; it has its turn once an hour."""
    query(place)
    place.drop("a.json", [call("CreateUser", "ana"), call("DeleteUser", "ana"), call("DeleteUser", "bob")])
    place.run()
    place.run()
    [alert] = alerts_of(place, "Many")
    assert alert["title"] == "ana made 2 calls to ['CreateUser', 'DeleteUser']"
    assert alert["match_count"] == 1
    [(row,)] = [row[1:] for row in place.rows("rule_matches", "p_rule_id", "event") if row[0] == "Many"]
    assert json.loads(str(row))["result"]["who"] == "ana"


def test_a_query_that_fails_is_an_error_of_its_rules(place: Place) -> None:
    """At the destination and in `rule_errors`, with the reason; everything else goes on."""
    failing = {
        "not-in-the-lake": ("SELECT * FROM snowflake.account_usage.login_history", "the warehouse's own accounts"),
        "no-such-column": ("SELECT nothing FROM panther_logs.public.aws_cloudtrail", '"nothing" not found'),
        "outside-of-the-lake": ("SELECT * FROM read_csv('/etc/passwd')", "file system operations are disabled"),
    }
    for name, (sql, _) in failing.items():
        query(place, sql, name=name)
    place.drop("a.json", [call("DeleteUser", "ana")])
    place.run()
    assert len(alerts_of(place, "Deleted")) == 1
    errors = {str(rule): str(error) for rule, error in place.rows("rule_errors", "p_rule_id", "p_rule_error")}
    assert errors.keys() == failing.keys()
    for name, (_, said) in failing.items():
        assert said in errors[name]
        assert [alert["kind"] for alert in alerts_of(place, name)] == ["error"]


def test_a_kill_at_any_step_of_a_turn_finds_everything_once(place: Place) -> None:
    """Before and after the commit of a query's and of a correlation's turn, between the alert and the lake, before
    the end of the result, and with two daemons at once: each finding is one alert, each row of a turn counts once.
    """
    query(place, rate=ALWAYS)
    steps = [step + passage for step in failpoints.OF_SCHEDULES for passage in ("", ":2")]
    steps += ["alerts.after_transaction:2", "source.before_ack:2"]
    for number, step in enumerate(steps):
        place.drop(f"{number}.json", [call("CreateUser", f"user-{number}"), call("DeleteUser", f"user-{number}")])
        place.environment = {"INGESTD_FAILPOINT": step}
        killed = place.start()
        place.log += killed.communicate(timeout=120)[1]
        assert killed.returncode == -9, f"{step} was not reached: {place.log[-2000:]}"
    place.environment = {}
    place.drop("last.json", [call("CreateUser", "last"), call("DeleteUser", "last")])
    daemons = [place.start(), place.start()]
    for daemon in daemons:
        place.log += daemon.communicate(timeout=120)[1]
    assert [daemon.returncode for daemon in daemons] == [0, 0], place.log[-3000:]
    place.run()  # one may have had its turn before the other had committed its file

    users = sorted([*(f"user-{number}" for number in range(len(steps))), "last"])
    assert sorted(alert["dedup"] for alert in alerts_of(place, "Both")) == users
    assert sorted(alert["dedup"] for alert in alerts_of(place, "Many")) == users
    rows = Counter(place.rows("rule_matches", "p_rule_id", "p_row_id"))
    assert set(rows.values()) == {1}
    listed = map(json.loads, place.command("alerts", "--limit", "1000", "--json").splitlines())
    counted: Counter[str] = Counter()
    for alert in listed:
        counted[alert["detection"]] += alert["matches"]
    assert counted["Both"] == len(users)
    assert counted["Many"] == sum(1 for rule, _ in rows if rule == "Many")


def test_a_running_daemon_does_what_is_due(place: Place) -> None:
    """While it runs, not only at its end; a rule that ends its process is an error of that rule on that row, and the
    other rule of the same query goes on."""
    query(place, name="Killer")
    other = yaml.safe_load((place.folder / "rules/Killer.yml").read_text())
    place.item("Other", other | {"RuleID": "Other", "Filename": "Other.py"}, MANY)
    (place.folder / "rules/Killer.py").write_text("import os\n\ndef rule(event):\n    os._exit(3)\n")
    place.drop("a.json", [call("CreateUser", "ana"), call("DeleteUser", "ana")])
    place.run()  # the lake has something to ask
    [alert] = alerts_of(place, "Other")
    assert alert["dedup"] == "ana"
    assert [alert["kind"] for alert in alerts_of(place, "Killer")] == ["error"]

    command = [sys.executable, "-m", "ingestd", "run", "-c", str(place.write_config())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=place.folder) as daemon:
        place.drop("b.json", [call("CreateUser", "bob"), call("DeleteUser", "bob")])
        deadline = time.monotonic() + 90.0
        while len(alerts_of(place, "Both")) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        daemon.terminate()
        place.log += daemon.communicate(timeout=60)[1]
    assert daemon.returncode == 0, place.log[-3000:]
    assert sorted(alert["dedup"] for alert in alerts_of(place, "Both")) == ["ana", "bob"], place.log[-3000:]
