"""Every message that Event Grid sends about blobs, and what it asks for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from ingestd import notices
from ingestd.model import ObjectRef
from ingestd.notices.base import Notice, Unknown
from tests.azure.servers import NAME, as_cloud_event, event
from tests.notices.test_aws import parsed, reasons

HOST = f"https://{NAME}.blob.core.windows.net"
PATH = "insights-logs-signinlogs/tenantId=t/y=2024/m=05/d=01/h=10/m=00/PT1H.json"


def keys(document: Any) -> list[str]:
    """Keys of the blobs to read."""
    return [ref.key for ref in parsed(document).objects]


def created(path: str, **data: Any) -> dict[str, Any]:
    """The event of a blob that was written."""
    container, _, name = path.partition("/")
    return event(container, name, **data)


# --- each envelope, found by itself -------------------------------------------------------------------------

ENVELOPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "Event Grid's schema": lambda found: found,
    "CloudEvents": as_cloud_event,
    "a list of Event Grid's": lambda found: [found],
    "a list of CloudEvents": lambda found: [as_cloud_event(found)],
}


@pytest.mark.parametrize("encode", [lambda data: data, base64.b64encode], ids=["plain", "base64"])
@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_each_envelope_names_the_blob(envelope: Callable[[Any], Any], encode: Callable[[bytes], bytes]) -> None:
    """Account, container and name, size and etag, in either schema and encoding."""
    document = envelope(created(PATH, eTag='"0x8D4BCC2E4835CD0"', contentLength=524288))
    answer = notices.parse(encode(json.dumps(document).encode()), {})
    wanted = ObjectRef(store="az", bucket=NAME, key=PATH, etag="0x8D4BCC2E4835CD0", size=524288)
    assert answer == Notice(objects=(wanted,))


def test_a_list_of_several_events_names_each() -> None:
    """What is read and what is not stand side by side."""
    answer = parsed([created("logs/a"), created("logs/b", kind="BlobDeleted"), as_cloud_event(created("logs/c"))])
    assert [ref.key for ref in answer.objects] == ["logs/a", "logs/c"]
    assert [ignored.reason for ignored in answer.ignored] == ["deleted"]


def test_a_list_with_something_else_in_it_is_unknown_as_a_whole() -> None:
    """Nothing of it may vanish."""
    message = json.dumps([created("logs/a"), {"eventType": "Contoso.Ordered", "data": {}}]).encode()
    assert isinstance(notices.parse(message, {}), Unknown)


# --- where the blob is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}/logs/a%20b.json",
        f"{HOST}/logs/a b.json",
        f"https://{NAME}.dfs.core.windows.net/logs/a%20b.json",
        f"https://{NAME}.z6.blob.storage.azure.net/logs/a%20b.json",
        f"https://{NAME}.blob.core.usgovcloudapi.net/logs/a%20b.json",
        f"http://127.0.0.1:10000/{NAME}/logs/a%20b.json",
    ],
)
def test_the_address_may_have_any_form(url: str) -> None:
    """Blob and DFS endpoints, DNS zones, sovereign clouds, servers on loopback; encoded or not."""
    told = created("logs/a b.json", url=url)
    assert keys(told) == ["logs/a b.json"]
    assert keys(told | {"topic": "", "subject": ""}) == ["logs/a b.json"]
    assert parsed(told | {"topic": "", "subject": ""}).objects[0].bucket == NAME


def test_a_name_with_percent_signs_is_the_subjects() -> None:
    """Only the address is encoded."""
    assert keys(created("logs/100%25.json", url=f"{HOST}/logs/100%2525.json")) == ["logs/100%25.json"]


def test_what_the_subject_lost_is_in_the_address() -> None:
    """Event Grid replaces what lies beyond the first plane of Unicode in subjects."""
    told = created("logs/\ufffd\ufffd.json", url=f"{HOST}/logs/%F0%9F%92%8E.json")
    assert keys(told) == ["logs/\U0001f48e.json"]


@pytest.mark.parametrize("host", ["evil.example", "blob.core.windows.net.evil.example", "169.254.169.254:80"])
def test_a_host_is_never_taken_from_a_message(host: str) -> None:
    """The account is a name; where it is, the configuration says."""
    told = created("logs/a.json", url=f"http://{host}/logs/a.json")
    assert parsed(told).objects[0].url == f"az://{NAME}/logs/a.json"
    answer = notices.parse(json.dumps(told | {"topic": "", "subject": ""}).encode(), {})
    assert isinstance(answer, Unknown) or "evil" not in answer.objects[0].bucket


@pytest.mark.parametrize(
    "version", ["snapshot=2024-05-01T10:00:00.1234567Z", "versionid=2024-05-01T10:00:00.1234567Z"]
)
def test_an_address_may_name_a_snapshot_or_version(version: str) -> None:
    """It addresses the read."""
    assert parsed(created("logs/a", url=f"{HOST}/logs/a?{version}")).objects[0].version == version


# --- what is read and what is not ---------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit", "NewApi"])
def test_what_was_written_whole_is_read(api: str) -> None:
    """Whatever wrote it."""
    assert keys(created("logs/a.json", api=api, contentLength=7)) == ["logs/a.json"]


@pytest.mark.parametrize("api", ["CreateFile", "SftpCreate"])
def test_a_file_that_was_only_made_is_not_read(api: str) -> None:
    """Its content comes later, and is announced again."""
    assert reasons(created("logs/a.json", api=api, contentLength=0)) == ["not_written"]


@pytest.mark.parametrize(("api", "expected"), [("FlushWithClose", None), ("SftpCommit", None)])
def test_a_length_of_zero_is_no_reason_where_it_says_nothing(api: str, expected: int | None) -> None:
    """These calls are announced with 0 for files that are not empty."""
    assert parsed(created("logs/a.json", api=api, contentLength=0)).objects[0].size is expected


def test_an_empty_block_blob_is_not_read() -> None:
    """There is nothing in it."""
    assert reasons(created("logs/a.json", contentLength=0)) == ["empty"]


def test_an_append_blob_is_announced_empty_and_not_pinned() -> None:
    """It will have another etag and size by the time it is read."""
    told = created(PATH, blobType="AppendBlob", contentLength=0, eTag="0x8D1")
    assert parsed(told).objects == (ObjectRef(store="az", bucket=NAME, key=PATH),)


def test_a_page_blob_is_not_read() -> None:
    """It is a disk."""
    assert reasons(created("vhds/a.vhd", blobType="PageBlob", contentLength=512)) == ["page_blob"]


def test_a_renamed_blob_is_read_under_its_new_name() -> None:
    """Writers that make their files visible by a rename announce them so."""
    urls = {"sourceUrl": f"{HOST}/logs/_tmp/a.json", "destinationUrl": f"{HOST}/logs/a.json"}
    told = event("logs", "a.json", kind="BlobRenamed", **urls)
    assert keys(told) == ["logs/a.json"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("BlobDeleted", "deleted"),
        ("DirectoryDeleted", "deleted"),
        ("DirectoryCreated", "not_written"),
        ("DirectoryRenamed", "not_written"),
        ("BlobInventoryPolicyCompleted", "not_written"),
        ("SomethingNew", "not_written"),
    ],
)
def test_other_events_are_counted_and_acknowledged(kind: str, reason: str) -> None:
    """They ask for nothing."""
    assert reasons(event("logs", "a.json", kind=kind)) == [reason]


def test_a_blob_back_from_the_archive_is_read() -> None:
    """One on its way there is not."""
    tiers = {"api": "SetBlobTier", "previousTier": "Archive", "accessTier": "Hot"}
    assert keys(event("logs", "a.json", kind="BlobTierChanged", **tiers)) == ["logs/a.json"]
    tiers |= {"previousTier": "Hot", "accessTier": "Archive"}
    assert reasons(event("logs", "a.json", kind="BlobTierChanged", **tiers)) == ["not_written"]


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("SubscriptionValidationEvent", "subscription_confirmation"),
        ("SubscriptionDeletedEvent", "unsubscribe_confirmation"),
    ],
)
def test_messages_about_the_subscription_ask_for_nothing(
    kind: str, reason: str, envelope: Callable[[Any], Any]
) -> None:
    """The address in a validation is not visited."""
    told = created("logs/a") | {
        "eventType": f"Microsoft.EventGrid.{kind}",
        "data": {"validationCode": "512d38b6", "validationUrl": "https://evil.example/"},
    }
    assert reasons(envelope(told)) == [reason]


def test_another_publishers_events_are_unknown() -> None:
    """Also as CloudEvents."""
    told = as_cloud_event(created("logs/a")) | {"type": "google.cloud.storage.object.v1.finalized"}
    assert isinstance(notices.parse(json.dumps(told).encode(), {}), Unknown)


@pytest.mark.parametrize("subject", ["/blobServices/default/containers/UPPER/blobs/a", "/else", None, 7])
def test_a_place_that_cannot_be_is_unknown(subject: Any) -> None:
    """Nothing is guessed."""
    told = created("logs/a", url="not an address") | {"subject": subject}
    assert isinstance(notices.parse(json.dumps(told).encode(), {}), Unknown)
