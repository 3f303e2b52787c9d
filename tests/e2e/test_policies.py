"""Policies, from a snapshot of resources in the inbox to the alert and the compliance state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.e2e.place import Place

ENCRYPTED = """
def policy(resource):
    return resource["Encryption"] is not None
"""
CHANGES = """
def policy(resource):
    resource["Encryption"] = "set by a policy"
    return True
"""
TAGGED = """
def policy(resource):
    return "owner" in resource.get("Tags", {})


def dedup(resource):
    return "untagged"


def severity(resource):
    return "INFO"
"""


def bucket(name: str, encryption: str | None, **fields: Any) -> dict[str, Any]:
    """A snapshot of a bucket."""
    arn = f"arn:aws:s3:::{name}"
    return {"ResourceId": arn, "ResourceType": "AWS.S3.Bucket", "Name": name, "Encryption": encryption, **fields}


def _place(folder: Path) -> Place:
    place = Place(folder)
    place.config["sources"]["inbox"]["routes"] = [{"resource_types": ["AWS.S3.*", "AWS.IAM.User"]}]
    for name, code, types in (
        ("A.Changes", CHANGES, []),
        ("Bucket.Encrypted", ENCRYPTED, ["AWS.S3.Bucket"]),
        ("User.Tagged", TAGGED, ["AWS.IAM.User"]),
    ):
        place.rule(name, code, AnalysisType="policy", ResourceTypes=types, DisplayName=f"{name} shown")
    return place


def _standing(place: Place, *arguments: str) -> dict[tuple[str, str], str]:
    rows = [json.loads(line) for line in place.command("compliance", "--json", *arguments).splitlines()]
    return {(row["resource_id"].rpartition(":")[2], row["policy"]): row["verdict"] for row in rows}


def test_a_violated_policy_makes_an_alert_and_every_verdict_is_kept(tmp_path: Path) -> None:
    """One alert per policy and resource unless the policy says otherwise; what stands how can be asked, and follows
    the next snapshot; a policy that fails is an error; a snapshot without a type or an id is a reject."""
    place = _place(tmp_path)
    place.drop(
        "first.json",
        [
            bucket("closed", "AES256"),
            bucket("open", None),
            bucket("open-too", None),
            {"ResourceId": "user/ana", "ResourceType": "AWS.IAM.User", "Tags": {}},
            {"ResourceId": "user/bo", "ResourceType": "AWS.IAM.User"},
            {"ResourceId": "broken", "ResourceType": "AWS.S3.Bucket"},
            {"ResourceId": "other", "ResourceType": "AWS.EC2.Instance"},
            {"ResourceType": "AWS.S3.Bucket"},
        ],
    )
    place.run()
    encrypted, open_too, tagged = sorted(
        (alert for alert in place.alerts() if alert["kind"] == "policy"), key=lambda alert: str(alert["dedup"])
    )
    assert encrypted["title"] == open_too["title"] == "Bucket.Encrypted shown"
    assert encrypted["context"] == {"resource_id": "arn:aws:s3:::open", "resource_type": "AWS.S3.Bucket"}
    assert open_too["dedup"] == "arn:aws:s3:::open-too"
    assert (tagged["dedup"], tagged["severity"], tagged["match_count"]) == ("untagged", "INFO", 2)
    (error,) = (alert for alert in place.alerts() if alert["kind"] == "error")
    assert (error["detection_id"], error["dedup"]) == ("Bucket.Encrypted", "KeyError")
    rows = place.rows("rule_matches", "kind", "p_rule_id", "resource_id", "p_log_type")
    assert ("policy", "Bucket.Encrypted", "arn:aws:s3:::open", "AWS.S3.Bucket") in rows
    assert len(rows) == 4
    assert sorted(place.rows("rejects", "reason")) == [("invalid",), ("unclassified",)]
    kept = {str(row[0]): json.loads(str(row[1])) for row in place.rows("events", "resource_id", "resource")}
    assert len(kept) == 6
    assert kept["arn:aws:s3:::open"] == bucket("open", None)

    assert _standing(place, "--policy", "Bucket.Encrypted") == {
        ("closed", "Bucket.Encrypted"): "pass",
        ("open", "Bucket.Encrypted"): "fail",
        ("open-too", "Bucket.Encrypted"): "fail",
        ("broken", "Bucket.Encrypted"): "error",
    }
    assert len(_standing(place)) == 12
    assert set(_standing(place, "--verdict", "fail", "--resource-type", "AWS.IAM.User")) == {
        ("user/ana", "User.Tagged"),
        ("user/bo", "User.Tagged"),
    }

    place.drop("second.json", [bucket("open", "aws:kms")])
    place.run()
    assert _standing(place, "--resource", "arn:aws:s3:::open") == {
        ("open", "A.Changes"): "pass",
        ("open", "Bucket.Encrypted"): "pass",
    }
    sql = "select count(*) as n from \"Ingestd.Resource\" where resource_type = 'AWS.S3.Bucket'"
    assert json.loads(place.command("query", "--json", sql)) == {"n": 5}


def test_an_old_snapshot_that_is_read_late_leaves_the_compliance_state_alone(tmp_path: Path) -> None:
    """As does a newer one that is read without detections, as a backfill may."""
    place = _place(tmp_path)
    place.drop("newer.json", [bucket("b", None)])
    place.run()
    standing = {("b", "A.Changes"): "pass", ("b", "Bucket.Encrypted"): "fail"}
    assert _standing(place) == standing
    place.drop("older.json", [bucket("b", "AES256", Version=1)])
    os.utime(place.inbox / "older.json", (1_700_000_000, 1_700_000_000))
    place.run()
    assert _standing(place) == standing
    times = sorted(str(row[0])[:10] for row in place.rows("events", "p_event_time"))
    assert times[0] == "2023-11-14"
    place.config["detections"] = {}
    place.drop("newest.json", [bucket("b", "AES256", Version=2)])
    place.run()
    assert len(place.rows("events", "p_row_id")) == 3
    assert _standing(place) == standing
