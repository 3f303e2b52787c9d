"""Panoptica's export as it lies in a bucket: whatever the form of the file, and whatever the vendor's values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestd.model import Framing
from ingestd.schemas import Registry, Rejected, SessionInfo
from tests.decode.reading import read

PATH = {
    "alert_id": "a1",
    "detection_type": "attack_path",
    "detection_timestamp": "2024-05-01T10:00:00Z",
    "provider": "AWS",
    "severity": "Critical",
    "tenant_id": "id-1",
    "account_id": "111122223333,444455556666",
    "resolved": False,
    "labels": ["prod"],
    "risk_params": {"risk_score": 91, "workload": "w", "risk_definitions": []},
    "related_resources": [["arn:aws:s3:::bucket"], ["arn:aws:s3:::other"]],
}
FINDING = {
    **{key: value for key, value in PATH.items() if key != "risk_params"},
    "detection_type": "security_finding",
}
RECORDS = [PATH, {**FINDING, "alert_id": "a2"}]

Event = dict[str, Any]


def outcomes(data: bytes) -> list[Event | Rejected]:
    """The file's records as the only log type of a route, without a framing configured."""
    session = Registry.load([]).classifier(["Panoptica.SIEM"]).session(SessionInfo(identity="file:a#1"))
    found: list[Event | Rejected] = []
    for ordinal, record in enumerate(read(data, Framing()).records):
        outcome = session.read(record, ordinal)
        found += outcome if isinstance(outcome, list) else [outcome] if outcome is not None else []
    return found


def drift_of(record: Event) -> dict[str, str]:
    """What is unexpected in a record, which is an event all the same."""
    (event,) = outcomes(json.dumps(record).encode())
    assert isinstance(event, dict)
    return dict(event.get("p_unexpected", {}))


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (json.dumps(PATH).encode(), ["a1"]),
        (json.dumps(PATH, indent=2).encode(), ["a1"]),
        (json.dumps(RECORDS).encode(), ["a1", "a2"]),
        (json.dumps(RECORDS, indent=2).encode(), ["a1", "a2"]),
        ("\n".join(map(json.dumps, RECORDS)).encode(), ["a1", "a2"]),
    ],
    ids=["one object", "one object over lines", "an array", "an array over lines", "JSON lines"],
)
def test_every_form_of_the_file_is_read(data: bytes, ids: list[str]) -> None:
    """One object, an array, or JSON lines."""
    found = outcomes(data)
    assert [event["alert_id"] for event in found if isinstance(event, dict)] == ids
    assert all(isinstance(event, dict) and "p_unexpected" not in event for event in found)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"severity": "Terrible"}, "severity"),
        ({"provider": "OCI"}, "provider"),
        ({"resource_type": "Quantum"}, "resource_type"),
        ({"risk_category": "Bad Luck"}, "risk_category"),
        ({"tenant_id": "tenant-1"}, "tenant_id"),
        ({"account_id": "x" * 51}, "account_id"),
        ({"risk_params": {"risk_score": 101}}, "risk_params.risk_score"),
        ({"risk_params": None}, "risk_params"),
        ({"detection_type": "security_finding"}, "risk_params"),
        ({"detection_timestamp": "yesterday"}, "detection_timestamp"),
        ({"resolved": "perhaps"}, "resolved"),
        ({"labels": "prod"}, "labels"),
    ],
)
def test_what_the_vendor_did_not_promise_keeps_its_row_and_is_drift(changes: Event, where: str) -> None:
    """Enumerations, ranges, forms, types, and parameters that should be there exactly for attack paths."""
    assert [*drift_of({**PATH, **changes})] == [where]


@pytest.mark.parametrize("missing", [{}, {"alert_id": None}])
def test_only_a_missing_alert_id_refuses_the_record(missing: Event) -> None:
    """Everything else may be absent."""
    (event,) = outcomes(json.dumps({"alert_id": "a1"}).encode())
    assert isinstance(event, dict)
    without = {key: value for key, value in PATH.items() if key != "alert_id"}
    (refused,) = outcomes(json.dumps({**without, **missing}).encode())
    assert isinstance(refused, Rejected)
    assert "alert_id" in refused.detail
