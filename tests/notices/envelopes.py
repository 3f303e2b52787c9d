"""The messages that AWS sends about objects, as AWS writes them."""

from __future__ import annotations

import json
from typing import Any

TOPIC = "arn:aws:sns:eu-central-1:111122223333:logs"


def s3_record(key: str = "AWSLogs/a.json.gz", event: str = "ObjectCreated:Put", **of_object: Any) -> dict[str, Any]:
    """One record of S3's event notification; `of_object` changes the object's fields, None removes one."""
    described = {
        "key": key,
        "size": 1024,
        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
        "sequencer": "0055AED6DCD90281E5",
    }
    described = {name: value for name, value in (described | of_object).items() if value is not None}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-11-20T12:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AROAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "logs",
            "bucket": {
                "name": "logs",
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": "arn:aws:s3:::logs",
            },
            "object": described,
        },
    }


def s3_event(*records: dict[str, Any]) -> dict[str, Any]:
    """S3's event notification."""
    return {"Records": list(records or [s3_record()])}


def eventbridge_event(
    key: str = "AWSLogs/a.json.gz", kind: str = "Object Created", **of_object: Any
) -> dict[str, Any]:
    """S3's event by way of EventBridge."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-11-20T12:00:00Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::logs"],
        "detail": {
            "version": "0",
            "bucket": {"name": "logs"},
            "object": {"key": key, "size": 1024, "etag": "b1946ac92492d2347c6235b4d2611184"} | of_object,
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
        },
    }


def security_lake_notice(key: str) -> dict[str, Any]:
    """What Security Lake sends to a subscriber's queue."""
    notice = eventbridge_event(key)
    return {name: notice[name] for name in ("source", "time", "account", "region", "resources", "detail")}


def in_sns(message: str) -> dict[str, Any]:
    """The envelope that a topic without raw delivery puts around a message."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon S3 Notification",
        "Message": message,
        "Timestamp": "2026-11-20T12:00:00.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    }


def body(document: Any) -> bytes:
    """A document as it lies in the queue."""
    return json.dumps(document).encode()
