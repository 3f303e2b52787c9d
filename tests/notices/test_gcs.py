"""Notifications of Cloud Storage: what each kind asks for."""

from __future__ import annotations

import json

import pytest

from ingestd import notices
from ingestd.model import ObjectRef
from ingestd.notices.base import Ignored, Notice, Unknown
from tests.gcp.servers import told
from tests.gcp.storage import Stored

WRITTEN = Stored("logs-bucket", "a b/ü.json", b"{}")


def body(stored: Stored) -> bytes:
    """What `JSON_API_V1` puts into the message."""
    return json.dumps(stored.resource()).encode()


def test_a_written_object_is_read_at_its_generation() -> None:
    """With the size that the body says."""
    ref = ObjectRef(store="gs", bucket="logs-bucket", key="a b/ü.json", etag=str(WRITTEN.generation), size=2)
    assert notices.parse(body(WRITTEN), told(WRITTEN)) == Notice(objects=(ref,))


@pytest.mark.parametrize("data", [b"", b"not json", b'{"size": -1}', b'{"size": "\xc2\xb2"}'])
def test_the_attributes_are_enough(data: bytes) -> None:
    """A notification may have been made without a body."""
    answer = notices.parse(data, told(WRITTEN))
    assert isinstance(answer, Notice)
    assert [(ref.key, ref.size) for ref in answer.objects] == [("a b/ü.json", None)]


@pytest.mark.parametrize(
    ("kind", "stored", "reason"),
    [
        ("OBJECT_DELETE", WRITTEN, "deleted"),
        ("OBJECT_ARCHIVE", WRITTEN, "not_written"),
        ("OBJECT_METADATA_UPDATE", WRITTEN, "not_written"),
        ("OBJECT_SOMETHING_NEW", WRITTEN, "not_written"),
        ("OBJECT_FINALIZE", Stored("logs-bucket", "a", b""), "empty"),
        ("OBJECT_FINALIZE", Stored("logs-bucket", "a/", b""), "folder"),
    ],
)
def test_what_asks_for_nothing_is_ignored_with_its_reason(kind: str, stored: Stored, reason: str) -> None:
    """Acknowledged and counted."""
    ignored = Ignored(reason=reason, key=f"gs://{stored.bucket}/{stored.name}")
    assert notices.parse(body(stored), told(stored, kind)) == Notice(ignored=(ignored,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucketId": "../x"},
        {"bucketId": "UPPER"},
        {"objectId": ""},
        {"objectId": "x" * 1025},
        {"objectId": "\ud800"},
        {"objectGeneration": "1&alt=media"},
        {"objectGeneration": "²"},
        {"objectGeneration": ""},
    ],
    ids=repr,
)
def test_what_no_object_can_be_called_is_unknown(wrong: dict[str, str]) -> None:
    """It goes to the rejects."""
    assert isinstance(notices.parse(b"", told(WRITTEN) | wrong), Unknown)


def test_notifications_are_told_from_other_messages_by_their_attributes() -> None:
    """All of them are needed: log entries may have attributes of their own."""
    assert notices.is_notification(told(WRITTEN))
    for name in ("notificationConfig", "eventType", "bucketId", "objectId"):
        assert not notices.is_notification({key: value for key, value in told(WRITTEN).items() if key != name})
