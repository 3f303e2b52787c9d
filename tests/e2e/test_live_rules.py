"""Rules as they live in a daemon: errors, counters that daemons share, trials, and what the configuration changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ingestd import assembly
from ingestd.daemon import Daemon
from ingestd.telemetry import catalogue
from tests.e2e.place import Place, event

FAILS = """
def rule(event):
    if event["eventName"] == "Matches":
        return True
    if event["eventName"] == "Divides":
        return 1 // 0
    return event["absent"]


def destinations(event):
    return ["pager"]
"""
YES = "def rule(event):\n    return True\n"
COUNTS = """
from panther_detection_helpers.caching import get_counter, increment_counter


def rule(event):
    global before, count
    before, count = get_counter("seen"), increment_counter("seen")
    return True


def title(event):
    return str(count)


def dedup(event):
    return "all" if before < count else "a repeated read saw what came later"
"""


async def test_a_rule_that_raises_is_heard_of_where_its_match_would_have_been(tmp_path: Path) -> None:
    """One error alert per exception class whatever the threshold, to the rule's own destinations; a row with the
    traceback for each; a metric; and every other rule as ever."""
    place = Place(tmp_path)
    place.config["destinations"]["pager"] = place.destination("pager", default=False)
    place.rule("Fails", FAILS, Threshold=5)
    place.rule("Works", YES, DedupPeriodMinutes=60)
    place.drop("some.log", [event(name) for name in ("Matches", "A", "B", "C", "Divides")])
    config = place.write_config()
    assert await Daemon(config, assembly.load_checked(config)).run(once=True) == 0

    missing, division = place.alerts("pager")
    assert (missing["kind"], missing["dedup"], missing["match_count"]) == ("error", "KeyError", 3)
    assert missing["title"] == "KeyError('absent')"
    assert missing["description"] == "'absent': Fails.py, line 7, in rule"
    assert (division["dedup"], division["match_count"]) == ("ZeroDivisionError", 1)
    assert [alert["detection_id"] for alert in place.alerts("record")] == ["Works"]

    rows = place.rows("rule_errors", "p_rule_id", "dedup", "p_alert_id", "p_rule_error")
    assert Counter(row[:3] for row in rows) == {
        ("Fails", "KeyError", missing["alert_id"]): 3,
        ("Fails", "ZeroDivisionError", division["alert_id"]): 1,
    }
    for *_, text in rows:
        assert str(text).startswith("Traceback (most recent call last):")
        assert f'{tmp_path}/rules/Fails.py", line ' in str(text)
    matched = Counter(row[0] for row in place.rows("rule_matches", "p_rule_id"))
    assert matched == {"Works": 5, "Fails": 1}
    assert catalogue.value("ingestd_detection_errors_total", rule="Fails") == 4
    assert catalogue.value("ingestd_detection_errors_total", rule="Works") == 0


def test_a_counter_is_one_for_all_daemons_and_a_repeated_record_counts_once(tmp_path: Path) -> None:
    """Two daemons at once on one state, of which one is killed after its rules counted and before its rows were
    committed: when it has run again, every record has had its own number."""
    places = [Place(tmp_path, name="-a"), Place(tmp_path, name="-b")]
    places[0].rule("Counts", COUNTS)
    records = 150
    for place in places:
        place.drop("some.log", [event(f"{place.inbox.name}-{n}") for n in range(records)])
    places[0].environment["INGESTD_FAILPOINT"] = "alerts.after_transaction"
    daemons = [place.start() for place in places]
    for daemon in daemons:
        daemon.communicate(timeout=120)
    assert daemons[0].returncode == -9
    assert places[0].rows("rule_matches", "title") == []
    del places[0].environment["INGESTD_FAILPOINT"]
    places[0].run()

    numbers = [int(str(row[0])) for place in places for row in place.rows("rule_matches", "title")]
    assert sorted(numbers) == list(range(1, 2 * records + 1))
    assert {row[0] for place in places for row in place.rows("rule_matches", "dedup")} == {"all"}
    sent = {alert["alert_id"] for place in places for alert in place.alerts()}
    assert len(sent) == 1


def test_a_rule_on_trial_is_heard_of_at_its_own_destination_alone(tmp_path: Path) -> None:
    """Its matches and its errors, whatever destinations it names itself; nothing else goes there."""
    place = Place(tmp_path)
    place.config["destinations"]["dev"] = place.destination("dev", default=False)
    place.rule("On.Trial", FAILS.replace("pager", "record"), Severity="Critical")
    place.rule("Settled", YES)
    place.config["detections"]["overrides"] = {"On.Trial": {"destinations": ["dev"]}}
    place.drop("some.log", [event("Matches"), event("Divides")])
    place.run()
    assert sorted((alert["kind"], alert["detection_id"]) for alert in place.alerts("dev")) == [
        ("error", "On.Trial"),
        ("rule", "On.Trial"),
    ]
    assert {alert["detection_id"] for alert in place.alerts("record")} == {"Settled"}


DYNAMIC = YES + "def severity(event):\n    return 'CRITICAL'\ndef dedup(event):\n    return event['eventName'][0]\n"


def test_the_configuration_changes_detections_without_touching_their_files(tmp_path: Path) -> None:
    """Packs say what runs; enable and disable per id; severity, threshold, window and an allow-list over the rule."""
    place = Place(tmp_path)
    for name in ("Packed", "Disabled", "Quiet", "Severe", "Listed"):
        place.rule(name, DYNAMIC)
    place.rule("Unpacked", DYNAMIC)
    place.rule("Enabled", DYNAMIC, Enabled=False)
    pack = {"IDs": ["Packed", "Disabled", "Quiet", "Severe", "Listed"]}
    place.item("pack", {"AnalysisType": "pack", "PackID": "Pack", "PackDefinition": pack})
    allowed = [{"KeyPath": "userIdentity.userName", "Condition": "IsNotIn", "Values": ["robot"]}]
    place.config["detections"] |= {
        "packs": ["Pack"],
        "enable": ["Enabled"],
        "disable": ["Disabled"],
        "overrides": {
            "Quiet": {"threshold": 3},
            "Severe": {"severity": "LOW", "dedup_minutes": 5},
            "Listed": {"filter": allowed},
        },
    }
    robot = {"userIdentity": {"type": "IAMUser", "userName": "robot"}}
    place.drop("some.log", [event("A1"), event("A2"), event("A3"), event("B1", **robot)])
    place.run()
    alerts = Counter((alert["detection_id"], alert["dedup"], alert["severity"]) for alert in place.alerts())
    both = ("Packed", "Enabled", "Severe")
    assert alerts == {
        **{(name, dedup, "LOW" if name == "Severe" else "CRITICAL"): 1 for name in both for dedup in "AB"},
        ("Quiet", "A", "CRITICAL"): 1,
        ("Listed", "A", "CRITICAL"): 1,
    }
    matched = Counter(str(row[0]) for row in place.rows("rule_matches", "p_rule_id"))
    assert matched == {"Packed": 4, "Enabled": 4, "Severe": 4, "Quiet": 4, "Listed": 3}


def test_rows_of_matches_tell_the_severity_of_their_alert(tmp_path: Path) -> None:
    """A rule gives each match its own; what one sees in the lake is what was sent."""
    place = Place(tmp_path)
    place.rule(
        "Varies", YES + "def severity(event):\n    return event['eventName']\ndef dedup(event):\n    return 'd'\n"
    )
    place.rule("Signals", YES + "def severity(event):\n    return event['eventName']\n", CreateAlert=False)
    place.drop("some.log", [event("HIGH"), event("LOW"), event("INFO")])
    place.run()
    (alert,) = place.alerts()
    rows = Counter(place.rows("rule_matches", "p_rule_id", "p_alert_id", "p_rule_severity", "p_alert_severity"))
    assert rows == {
        ("Varies", alert["alert_id"], "HIGH", "HIGH"): 3,
        **{("Signals", None, severity, severity): 1 for severity in ("HIGH", "LOW", "INFO")},
    }
