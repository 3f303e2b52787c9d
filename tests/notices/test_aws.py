"""Every message that AWS sends about objects, and what it asks for."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from ingestd import notices
from ingestd.model import ObjectRef
from ingestd.notices.base import Ignored, Notice, Unknown
from tests.notices.envelopes import (
    TOPIC,
    body,
    eventbridge_event,
    in_sns,
    s3_event,
    s3_record,
    security_lake_notice,
)

TRAIL = "AWSLogs/111122223333/CloudTrail/eu-central-1/2026/11/20/111122223333_CloudTrail.json.gz"


def parsed(document: Any) -> Notice:
    """The notice in a document that has one."""
    notice = notices.parse(body(document), {})
    assert isinstance(notice, Notice)
    return notice


def keys(document: Any) -> list[str]:
    """Keys of the objects to read."""
    return [ref.key for ref in parsed(document).objects]


def reasons(document: Any) -> list[str]:
    """Why parts of the message ask for nothing, when there is nothing to read."""
    notice = parsed(document)
    assert notice.objects == ()
    return [ignored.reason for ignored in notice.ignored]


# --- each envelope, found by itself -------------------------------------------------------------------------


def test_s3_to_sqs() -> None:
    """S3's own event names bucket, key, size, etag and version."""
    assert parsed(s3_event(s3_record(versionId="v1"))).objects == (
        ObjectRef(
            store="s3",
            bucket="logs",
            key="AWSLogs/a.json.gz",
            size=1024,
            etag="d41d8cd98f00b204e9800998ecf8427e",
            version="v1",
        ),
    )


@pytest.mark.parametrize("wrappings", [1, 2, 3])
def test_s3_to_sns_to_sqs(wrappings: int) -> None:
    """A topic's envelope is taken off, also when topics feed topics; raw delivery has none."""
    document: Any = s3_event()
    for _ in range(wrappings):
        document = in_sns(json.dumps(document))
    assert parsed(document) == parsed(s3_event())


def test_eventbridge() -> None:
    """EventBridge has the same in `detail`, spelled otherwise."""
    assert parsed(eventbridge_event(**{"version-id": "v1"})).objects == (
        ObjectRef(
            store="s3",
            bucket="logs",
            key="AWSLogs/a.json.gz",
            size=1024,
            etag="b1946ac92492d2347c6235b4d2611184",
            version="v1",
        ),
    )


def test_eventbridge_by_sns() -> None:
    """EventBridge may send to a topic that feeds the queue."""
    assert keys(in_sns(json.dumps(eventbridge_event()))) == ["AWSLogs/a.json.gz"]


def test_security_lake() -> None:
    """Security Lake's notice is EventBridge's without a detail-type; its keys hold `=`."""
    key = "aws/CLOUD_TRAIL_MGMT/2.0/region=eu-central-1/accountId=111122223333/eventDay=20261120/a.gz.parquet"
    assert keys(security_lake_notice(key)) == [key]


def test_cloudtrails_own_notice() -> None:
    """CloudTrail names a bucket and several keys."""
    document = {"s3Bucket": "logs", "s3ObjectKey": [TRAIL, "AWSLogs/b.json.gz"]}
    assert keys(in_sns(json.dumps(document))) == [TRAIL, "AWSLogs/b.json.gz"]
    assert keys(document) == [TRAIL, "AWSLogs/b.json.gz"]


def test_configs_delivery_notice() -> None:
    """Config names its snapshot or history file as CloudTrail does, with one key."""
    document = {
        "s3Bucket": "logs",
        "s3ObjectKey": "AWSLogs/c.json.gz",
        "messageType": "ConfigurationHistoryDeliveryCompleted",
    }
    assert keys(in_sns(json.dumps(document))) == ["AWSLogs/c.json.gz"]


def test_configs_other_messages_ask_for_nothing() -> None:
    """A changed item comes again in the history file."""
    assert reasons({"messageType": "ConfigurationItemChangeNotification", "configurationItem": {}}) == ["not_written"]


def test_writes_seen_by_cloudtrail_and_sent_by_eventbridge() -> None:
    """The older way to S3 events: API calls. A refused call wrote nothing."""
    call = {"eventName": "PutObject", "requestParameters": {"bucketName": "logs", "key": "a.gz"}}
    document = {"source": "aws.s3", "detail-type": "AWS API Call via CloudTrail", "detail": call}
    assert keys(document) == ["a.gz"]
    assert reasons(document | {"detail": call | {"errorCode": "AccessDenied"}}) == ["not_written"]
    assert reasons(document | {"detail": call | {"eventName": "DeleteObject"}}) == ["deleted"]


def test_servers_with_the_same_api() -> None:
    """MinIO and Ceph name themselves as the source and put `s3:` before the event."""
    record = s3_record(event="s3:ObjectCreated:Put") | {"eventSource": "minio:s3"}
    assert keys({"EventName": "s3:ObjectCreated:Put", "Key": "logs/a", "Records": [record]}) == ["AWSLogs/a.json.gz"]


# --- messages that ask for nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda text: json.loads(text), in_sns], ids=["raw", "wrapped"])
def test_the_test_event_of_s3_asks_for_nothing(wrap: Callable[[str], Any]) -> None:
    """S3 sends it when notifications are configured; it must not loop."""
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-20T12:00:00Z", "Bucket": "logs"}
    assert reasons(wrap(json.dumps(event))) == ["test_event"]


def test_cloudtrails_validation_message_asks_for_nothing() -> None:
    """It is plain text, in the envelope or raw."""
    text = "CloudTrail validation message."
    assert reasons(in_sns(text)) == ["test_event"]
    assert notices.parse(text.encode(), {}) == Notice(ignored=(Ignored(reason="test_event"),))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("SubscriptionConfirmation", "subscription_confirmation"),
        ("UnsubscribeConfirmation", "unsubscribe_confirmation"),
    ],
)
def test_a_subscription_that_begins_or_ends_asks_for_nothing(kind: str, reason: str) -> None:
    """It is counted under its topic, and its address is not visited."""
    document = in_sns("You have chosen to subscribe.") | {
        "Type": kind,
        "SubscribeURL": "https://example.com/?Token=t",
    }
    assert parsed(document) == Notice(ignored=(Ignored(reason=reason, key=TOPIC),))


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("ObjectRemoved:Delete", "deleted"),
        ("ObjectRemoved:DeleteMarkerCreated", "deleted"),
        ("LifecycleExpiration:Delete", "deleted"),
        ("ObjectTagging:Put", "not_written"),
        ("ObjectRestore:Post", "not_written"),
        ("Replication:OperationFailedReplication", "not_written"),
    ],
)
def test_what_wrote_nothing_asks_for_nothing(event: str, reason: str) -> None:
    """Deletes and changes of metadata are acknowledged and counted."""
    assert reasons(s3_event(s3_record(event=event))) == [reason]


@pytest.mark.parametrize(("kind", "reason"), [("Object Deleted", "deleted"), ("Object Tags Added", "not_written")])
def test_the_same_by_eventbridge(kind: str, reason: str) -> None:
    """EventBridge tells of deletes and tags too."""
    assert reasons(eventbridge_event(kind=kind)) == [reason]


@pytest.mark.parametrize(
    "event",
    ["ObjectCreated:Post", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload", "ObjectRestore:Completed"],
)
def test_whatever_makes_content_readable_is_read(event: str) -> None:
    """However it was written, and also when it came back from the archive."""
    assert keys(s3_event(s3_record(event=event))) == ["AWSLogs/a.json.gz"]


# --- keys and sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("a+b.gz", "a b.gz"),
        ("a%2Bb.gz", "a+b.gz"),
        ("a%252Bb.gz", "a%2Bb.gz"),
        ("region%3Deu/a.gz", "region=eu/a.gz"),
        ("AWSLogs%2Fa.gz", "AWSLogs/a.gz"),
        ("Pr%C3%BCfung/%F0%9F%94%91.gz", "Prüfung/🔑.gz"),
        ("dir//a%0A.gz", "dir//a\n.gz"),
        ("../../etc/passwd", "../../etc/passwd"),
    ],
)
def test_keys_in_s3s_own_event_are_decoded_as_in_a_query_string(encoded: str, key: str) -> None:
    """`+` is a blank, `%2B` a plus, the rest UTF-8; decoded once."""
    assert keys(s3_event(s3_record(encoded))) == [key]


@pytest.mark.parametrize("key", ["a+b.gz", "a%2Bb.gz", "a b.gz", "Prüfung.gz"])
def test_keys_elsewhere_are_plain(key: str) -> None:
    """EventBridge, Security Lake and CloudTrail write the key as it is."""
    assert keys(eventbridge_event(key)) == [key]
    assert keys(security_lake_notice(key)) == [key]
    assert keys({"s3Bucket": "logs", "s3ObjectKey": [key]}) == [key]


@pytest.mark.parametrize("key", ["%FF%FE", "", "a" * 1025, "%C3"])
def test_a_key_that_no_object_can_have_is_unknown(key: str) -> None:
    """It is set aside rather than read under another name."""
    assert isinstance(notices.parse(body(s3_event(s3_record(key))), {}), Unknown)


@pytest.mark.parametrize("bucket", ["", "a/b", "..", "bucket?x", "bu\ncket"])
def test_a_name_that_no_bucket_can_have_is_unknown(bucket: str) -> None:
    """It must not become part of an address."""
    assert isinstance(notices.parse(body({"s3Bucket": bucket, "s3ObjectKey": ["a"]}), {}), Unknown)


def test_a_missing_size_is_unknown_not_empty() -> None:
    """The object is read."""
    assert [ref.size for ref in parsed(s3_event(s3_record(size=None))).objects] == [None]


def test_an_empty_object_asks_for_nothing() -> None:
    """Nothing can be in it."""
    assert reasons(s3_event(s3_record(size=0))) == ["empty"]


@pytest.mark.parametrize("size", [0, None])
def test_a_folder_asks_for_nothing(size: int | None) -> None:
    """Consoles make an empty object whose key ends in `/`."""
    assert parsed(s3_event(s3_record("AWSLogs/", size=size))) == Notice(
        ignored=(Ignored(reason="folder", key="s3://logs/AWSLogs/"),)
    )


def test_content_under_a_key_like_a_folder_is_read() -> None:
    """A key that ends in `/` may have content after all."""
    assert keys(s3_event(s3_record("odd/", size=9))) == ["odd/"]


@pytest.mark.parametrize("organisation", ["", "o-abc1234567/"])
def test_cloudtrails_digests_ask_for_nothing(organisation: str) -> None:
    """Digest files hold no events, in a single account's layout and in Control Tower's."""
    digest = f"org/AWSLogs/{organisation}111122223333/CloudTrail-Digest/eu-central-1/2026/11/20/d.json.gz"
    assert reasons(s3_event(s3_record(digest))) == ["cloudtrail_digest"]
    assert reasons({"s3Bucket": "logs", "s3ObjectKey": [digest]}) == ["cloudtrail_digest"]


def test_a_file_that_a_service_wrote_to_try_asks_for_nothing() -> None:
    """Load balancers and Config try whether they may write."""
    assert reasons(s3_event(s3_record("AWSLogs/111122223333/ELBAccessLogTestFile", size=90))) == ["test_object"]


def test_quotes_around_an_etag_and_the_version_null_are_dropped() -> None:
    """An etag is the same with and without quotes; `null` addresses whatever is newest."""
    (ref,) = parsed(s3_event(s3_record(eTag='"e1"', versionId="null"))).objects
    assert (ref.etag, ref.version) == ("e1", None)


# --- several in one, and packed -----------------------------------------------------------------------------


def test_every_record_of_a_message_counts() -> None:
    """Several records: those to read and those that ask for nothing."""
    notice = parsed(
        s3_event(
            s3_record("a"), s3_record("b", event="ObjectRemoved:Delete"), s3_record("c"), s3_record("d/", size=0)
        )
    )
    assert [ref.key for ref in notice.objects] == ["a", "c"]
    assert [ignored.reason for ignored in notice.ignored] == ["deleted", "folder"]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "base64": base64.b64encode,
    "base64 of gzip": lambda plain: base64.b64encode(gzip.compress(plain)),
}


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize("document", [s3_event(), eventbridge_event()], ids=["s3", "eventbridge"])
def test_packed_bodies_are_unpacked(pack: Callable[[bytes], bytes], document: Any) -> None:
    """gzip and base64, also inside a topic's envelope."""
    packed = pack(body(document))
    assert notices.parse(packed, {}) == parsed(document)
    if packed.isascii():
        assert parsed(in_sns(packed.decode())) == parsed(document)


# --- what no one understands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"Records": []},
        {"Records": [s3_record(), {"eventSource": "aws:dynamodb", "eventName": "INSERT"}]},
        {"Records": [s3_record(key=5)]},  # type: ignore[arg-type]
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {}},
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": {}},
        {"s3Bucket": "logs", "s3ObjectKey": []},
        {"s3Bucket": "logs", "s3ObjectKey": ["a", 1]},
        {"Type": "Notification", "Message": "hello", "TopicArn": TOPIC},
        {"Type": "SubscriptionConfirmation"},
        "CloudTrail",
        [],
    ],
)
def test_what_is_no_notice_is_unknown(document: Any) -> None:
    """The whole message is set aside, so that nothing of it is lost."""
    assert isinstance(notices.parse(body(document), {}), Unknown)


def test_a_gzip_bomb_is_unknown() -> None:
    """A body expands to 16 MiB at most."""
    bomb = gzip.compress(b"[" + b" " * (17 * 1024 * 1024) + b"]")
    assert isinstance(notices.parse(bomb, {}), Unknown)


def test_envelopes_without_end_are_unknown() -> None:
    """Wrapping is followed three times."""
    document: Any = s3_event()
    for _ in range(4):
        document = in_sns(json.dumps(document))
    assert isinstance(notices.parse(body(document), {}), Unknown)
