"""From a storage account by its notices into the lake: nothing lost, nothing twice, nothing left in the queue."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.azure.servers import NAME, Azure, as_cloud_event, event, in_base64, plain
from tests.azure.site import Site
from tests.proofs import checker
from tests.proofs.hostile import record


def sign_in(number: int) -> dict[str, Any]:
    """A record of Entra ID's sign-in log."""
    return {
        "time": f"2024-05-01T10:{number % 60:02}:00.1234567Z",
        "resourceId": "/tenants/t/providers/Microsoft.aadiam",
        "operationName": "Sign-in activity",
        "operationVersion": "1.0",
        "category": "SignInLogs",
        "tenantId": "t",
        "resultType": "50126",
        "callerIpAddress": "198.51.100.20",
        "correlationId": f"sign-in-{number}",
        "properties": {"id": f"p{number}", "userPrincipalName": "ada@example.com", "userId": "u1"},
    }


def audit(number: int) -> dict[str, Any]:
    """A record of Entra ID's audit log."""
    return {
        "time": f"2024-05-01T11:{number % 60:02}:00Z",
        "resourceId": "/tenants/t/providers/Microsoft.aadiam",
        "operationName": "Add member to role",
        "operationVersion": "1.0",
        "category": "AuditLogs",
        "tenantId": "t",
        "correlationId": f"audit-{number}",
        "properties": {"id": f"a{number}", "activityDisplayName": "Add member to role", "operationType": "Assign"},
    }


def activity(number: int) -> dict[str, Any]:
    """A record of a subscription's activity log."""
    return {
        "time": f"2024-05-01T12:{number % 60:02}:00.0000000Z",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/V",
        "operationName": "MICROSOFT.KEYVAULT/VAULTS/WRITE",
        "category": "Administrative",
        "resultType": "Success",
        "resultSignature": "Succeeded.OK",
        "durationMs": "12",
        "callerIpAddress": "203.0.113.9",
        "correlationId": f"activity-{number}",
        "level": "Information",
        "identity": {"claims": {"name": "Ada"}},
    }


def in_lines(records: list[dict[str, Any]]) -> bytes:
    """As diagnostic settings write to storage."""
    return b"".join(json.dumps(one).encode() + b"\r\n" for one in records)


def in_envelope(records: list[dict[str, Any]]) -> bytes:
    """As they write to event hubs, from where captures bring it to storage."""
    return json.dumps({"records": records}).encode()


def in_envelopes(records: list[dict[str, Any]]) -> bytes:
    """The same, one message on each line."""
    return b"".join(
        in_envelope([one, one | {"correlationId": f"{one['correlationId']}+"}]) + b"\n" for one in records
    )


def log_types(site: Site) -> Counter[tuple[str, str]]:
    """How often each event is in the lake, with the log type that it was taken for."""
    rows = checker.parquet_rows(site.lake, "events", ["p_log_type", "correlationId"])
    return Counter((str(log_type), str(name)) for log_type, name in rows)


def test_entra_and_activity_logs_end_to_end(azure: Azure, tmp_path: Path) -> None:
    """Lines and envelopes, block and append blobs, plain and packed: each record once, under its log type."""
    container, queue = azure.container(), azure.queue()
    azure.append(container, "signin/PT1H.json", in_lines([sign_in(1), sign_in(2)]))
    azure.announce(queue, container, "signin/PT1H.json", blobType="AppendBlob", contentLength=0)
    azure.append(container, "hub/PT1H.json", in_envelopes([audit(1)]))
    azure.announce(queue, container, "hub/PT1H.json", blobType="AppendBlob", contentLength=0)
    azure.put(container, "audit.json", in_envelope([audit(3), audit(4)]))
    azure.announce(queue, container, "audit.json")
    azure.put(container, "activity.json.gz", gzip.compress(in_lines([activity(1), activity(2)])))
    azure.announce(queue, container, "activity.json.gz", encode=plain)
    azure.put(container, "mixed.json", in_lines([sign_in(9), activity(9)]))
    azure.announce(queue, container, "mixed.json")

    site = Site(tmp_path / "site", azure, queue, azure.queue(), log_types="Azure.Audit, Azure.MonitorActivity")
    site.drain()

    entra = ["sign-in-1", "sign-in-2", "sign-in-9", "audit-1", "audit-1+", "audit-3", "audit-4"]
    wanted = {("Azure.Audit", name): 1 for name in entra}
    wanted |= {("Azure.MonitorActivity", f"activity-{number}"): 1 for number in (1, 2, 9)}
    assert log_types(site) == Counter(wanted)
    assert site.rejects() == Counter()
    assert azure.left(queue) == 0


def test_envelopes_that_are_appended_go_on_after_what_was_read(azure: Azure, tmp_path: Path) -> None:
    """`{"records": […]}` on each line, some of it later."""
    container, queue = azure.container(), azure.queue()
    site = Site(tmp_path / "site", azure, queue, azure.queue(), log_types="Azure.Audit", append_poll_secs=0.05)
    azure.append(container, "PT1H.json", in_envelopes([audit(1)]))
    azure.announce(queue, container, "PT1H.json", blobType="AppendBlob", contentLength=0)
    for number in (2, 3):
        site.drain()
        azure.append(container, "PT1H.json", in_envelopes([audit(number)]))
    site.drain()
    assert sorted(site.events("correlationId").items()) == [
        (f"audit-{number}{more}", 1) for number in (1, 2, 3) for more in ("", "+")
    ]


def test_messages_that_are_log_events(azure: Azure, tmp_path: Path) -> None:
    """Plain, in base64, packed, several in one: each event once, and a redelivery adds nothing."""
    queue, poison = azure.queue(), azure.queue()
    azure.send(queue, json.dumps(sign_in(1)))
    azure.send(queue, in_base64(json.dumps(audit(1))))
    azure.send(queue, base64.b64encode(gzip.compress(in_envelope([audit(2), audit(3)]))).decode())
    azure.send(queue, in_lines([sign_in(2), sign_in(3)]).decode())
    settings: dict[str, Any] = {"log_types": "Azure.Audit", "more": "payload: message", "lease_secs": 2}
    site = Site(tmp_path / "site", azure, queue, poison, **settings)
    assert site.run(failpoint="source.before_ack") == -9
    site.drain_until_all_gone(5)
    names = ["sign-in-1", "sign-in-2", "sign-in-3", "audit-1", "audit-2", "audit-3"]
    assert site.events("correlationId") == Counter(names)
    assert site.rejects() == Counter()


@pytest.mark.parametrize("encode", [in_base64, pytest.param(plain, marks=pytest.mark.slow)], ids=["base64", "plain"])
def test_a_container_of_all_kinds_of_blobs(azure: Azure, encode: Any, tmp_path: Path) -> None:
    """Every record once in the lake, and each message acknowledged or set aside."""
    container, queue, poison = azure.container(), azure.queue(), azure.queue()

    def put(name: str, *ids: str, **data: Any) -> None:
        azure.put(container, name, gzip.compress(json.dumps({"Records": [record(one) for one in ids]}).encode()))
        azure.announce(queue, container, name, encode=encode, **data)

    put("one.json.gz", "a", "b", "c")
    put("odd/a b+c=ü%2B.json.gz", "d")
    put("twice.json.gz", "e")
    azure.announce(queue, container, "twice.json.gz", encode=encode)
    put("superseded.json.gz", "f", eTag="0x8DOLD")
    put("gone.json.gz", "g")
    azure.blobs.get_blob_client(container, "gone.json.gz").delete_blob()
    azure.announce(queue, container, "empty.json.gz", encode=encode, contentLength=0)
    azure.send(queue, encode(json.dumps([as_cloud_event(event(container, "one.json.gz", kind="BlobDeleted"))])))
    azure.send(queue, "what is this?")

    site = Site(tmp_path / "site", azure, queue, poison)
    site.drain()

    assert site.events() == Counter("abcdef")
    assert site.rejects() == Counter({"not_found": 1, "unknown_message": 1})
    assert azure.left(queue) == 0
    (letter,) = azure.peek(poison)
    assert json.loads(letter)["body"] == "what is this?"
    assert json.loads(letter)["ingestd_reason"] == "unknown_message"


def test_events_tell_where_they_come_from(azure: Azure, tmp_path: Path) -> None:
    """Account, container and blob."""
    container, queue = azure.container(), azure.queue()
    azure.put(container, "x/a.json", in_lines([sign_in(1)]))
    azure.announce(queue, container, "x/a.json")
    site = Site(tmp_path / "site", azure, queue, azure.queue(), log_types="Azure.Audit")
    site.drain()
    ((origin,),) = checker.parquet_rows(site.lake, "events", ["p_source_file"])
    assert json.loads(str(origin)) == {"azure_account": NAME, "azure_container": container, "azure_blob": "x/a.json"}


def test_a_message_cannot_name_a_file_of_this_machine_or_another_account(azure: Azure, tmp_path: Path) -> None:
    """Whoever may send into the queue reads blobs by it, and nothing else."""
    queue, poison = azure.queue(), azure.queue()
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(record("secret")))
    for store, bucket in (("file", str(tmp_path)), ("az", "evil")):
        azure.send(queue, json.dumps({"objects": [{"store": store, "bucket": bucket, "key": "c/secret.json"}]}))
    site = Site(tmp_path / "site", azure, queue, poison)
    site.drain()
    assert site.events() == Counter()
    assert site.rejects() == Counter({"unknown_store": 1, "unknown_account": 1})
    assert len(azure.peek(poison)) == 2
