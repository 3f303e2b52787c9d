"""Versions of detections, from the commit to the alert, and the history of what was enabled."""

from __future__ import annotations

import json
from pathlib import Path

from tests.detections.test_provenance import git
from tests.e2e.place import Place, event

CODE = "def rule(event):\n    return event.get('eventName') == 'GetObject'\n"


def commit(place: Place, author: str, at: int) -> str:
    """Commit the rules as they lie there."""
    rules = place.folder / "rules"
    git(rules, "add", ".")
    git(rules, "commit", "-q", "-m", "change", author=author, at=at)
    return git(rules, "rev-parse", "HEAD")


def test_version_commit_and_author_go_along(tmp_path: Path) -> None:
    """On matches and alerts; and the history says what was enabled at any time, since when, and who changed it."""
    place = Place(tmp_path)
    git(tmp_path / "rules", "init", "-q")
    place.rule("Rule.A", CODE)
    place.rule("Rule.B", CODE)
    first = commit(place, "Ana", 1_700_000_000)
    place.drop("one.jsonl", [event("GetObject")])
    place.run()
    place.rule("Rule.A", CODE, Severity="Low")
    second = commit(place, "Bo", 1_700_000_100)
    place.config["detections"]["disable"] = ["Rule.B"]
    place.drop("two.jsonl", [event("GetObject", eventID="another")])
    place.run()

    columns = ("p_rule_id", "p_rule_commit", "p_rule_author", "p_rule_version")
    rows = sorted(place.rows("rule_matches", *columns), key=str)
    assert sorted(row[:3] for row in rows) == sorted(
        [
            ("Rule.A", first, "Ana <ana@example.com>"),
            ("Rule.A", second, "Bo <bo@example.com>"),
            ("Rule.B", first, "Ana <ana@example.com>"),
        ]
    )
    (alert,) = [alert for alert in place.alerts() if alert["detection_id"] == "Rule.B"]
    assert (alert["commit"], alert["author"]) == (first, "Ana <ana@example.com>")

    lines = place.command("detections", "history", "--json").splitlines()
    told = [{name: json.loads(line)[name] for name in ("detection", "what", "enabled", "by")} for line in lines]
    assert told == [
        {"detection": "Rule.A", "what": "changed", "enabled": True, "by": "Bo <bo@example.com>"},
        {"detection": "Rule.B", "what": "disabled", "enabled": False, "by": "the configuration"},
        {"detection": "Rule.A", "what": "added", "enabled": True, "by": "Ana <ana@example.com>"},
        {"detection": "Rule.B", "what": "added", "enabled": True, "by": "Ana <ana@example.com>"},
    ]
    versions = [row[3] for row in rows if row[0] == "Rule.A"]
    (newest,) = [json.loads(line) for line in lines[:1]]
    assert newest["version"] in versions
    then = json.loads(lines[-1])["since"]
    at_first = place.command("detections", "history", "--json", "--at", _just_after(then)).splitlines()
    now = place.command("detections", "history", "--json", "--at", "2100-01-01").splitlines()
    assert [json.loads(line)["detection"] for line in at_first] == ["Rule.A", "Rule.B"]
    assert [json.loads(line)["detection"] for line in now] == ["Rule.A"]


def _just_after(moment: str) -> str:
    """Times are told in whole seconds."""
    return moment.removesuffix("Z") + ".999999"
