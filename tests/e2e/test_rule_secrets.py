"""A rule with a secret, from a file to the alert: it can use the value and cannot let it out."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.place import Place, event

KEY = "gn-0123456789 'quoted' \"twice\" é"
TOKEN = "tok-from-a-file-42"

BY_NAME = """
from ingestd.rules import get_secret


def rule(event):
    key = get_secret("panther-analysis/key")
    if event["eventName"] == "Raises":
        raise ValueError(f"no answer for {key!r} of {[key]}")
    return True


def title(event):
    key = get_secret("panther-analysis/key")
    return f"{event['eventName']} {len(key)} {'x' * 940} {key} {key}"


def dedup(event):
    return get_secret("panther-analysis/key")


def alert_context(event):
    key = get_secret("panther-analysis/key")
    return {"key": key, key: [key.encode().decode(), {"length": len(key)}]}
"""

BY_BOTO3 = """
import json
import logging
import sys

import boto3
from botocore.exceptions import ClientError

client = boto3.session.Session().client(service_name="secretsmanager", region_name="eu-central-1")


def rule(event):
    secret = json.loads(client.get_secret_value(SecretId="panther-analysis/service")["SecretString"])["token"]
    print(secret, file=sys.stderr)
    logging.getLogger("rule").warning("asked with %s", secret)
    return secret == "TOKEN" and event["eventName"] == "Matches"


def title(event):
    try:
        client.get_secret_value(SecretId="other/secret")
    except ClientError as error:
        return error.response["Error"]["Code"]


def description(event):
    try:
        client.get_secret_value(SecretId="panther-analysis/absent")
    except client.exceptions.ResourceNotFoundException as error:
        return str(error)
""".replace("TOKEN", TOKEN)


def test_a_rule_gets_its_secrets_and_nobody_sees_them(tmp_path: Path) -> None:
    """By our function and by boto3, from the environment and a file; in no alert, row or line of the log."""
    place = Place(tmp_path)
    place.rule("Asks.ByName", BY_NAME)
    place.rule("Asks.ByBoto3", BY_BOTO3)
    (tmp_path / "service.json").write_text(f'{{"user": "reader", "token": "{TOKEN}"}}\n')
    place.environment["RULES_KEY"] = KEY
    place.config["detections"]["secrets"] = {
        "values": {
            "panther-analysis/key": {"env": "RULES_KEY"},
            "panther-analysis/service": {"file": str(tmp_path / "service.json")},
        }
    }
    place.drop("some.log", [event("Matches"), event("Raises")])
    place.run()

    by_boto3, by_name, failed = place.alerts()
    assert by_name["title"].startswith(f"Matches {len(KEY)} xxx")
    assert by_name["dedup"] == "[secret]"
    assert by_name["context"] == {"key": "[secret]", "[secret]": ["[secret]", {"length": len(KEY)}]}
    assert by_boto3["title"] == "AccessDeniedException"
    assert "detections.secrets.values has no such name" in by_boto3["description"]
    assert failed["title"].startswith("ValueError")
    assert "[secret]" in failed["title"]

    written = place.log + "".join(file.read_text() for file in place.sent.iterdir())
    for table in ("rule_matches", "rule_errors"):
        columns = ("title", "dedup", "description", "p_alert_context", "unique_value")
        written += str(place.rows(table, *columns, *(("p_rule_error",) if table == "rule_errors" else ())))
    assert "asked with [secret]" in place.log
    for part in ("gn-0123", "tok-from", TOKEN):
        assert part not in written
    state = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
    assert b"gn-0123" not in state
    assert b"tok-from" not in state
