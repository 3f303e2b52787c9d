"""What CloudTrail and Config say to their own SNS topics: `{"s3Bucket": …, "s3ObjectKey": [key, …]}`.

CloudTrail tries a new topic out with the text `CloudTrail validation message.`. Config names the snapshot or
history file that it delivered in the same way, with one key and a `messageType`; its other messages (a changed item,
a rule's verdict) repeat what those files hold. Keys are plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestd.model import ObjectRef
from ingestd.notices._s3 import object_or_ignored
from ingestd.notices.base import Ignored, Notice

_VALIDATION = "CloudTrail validation message"
_CONFIG_WITHOUT_FILE = frozenset(
    {
        "ComplianceChangeNotification",
        "ConfigRulesEvaluationStarted",
        "ConfigurationItemChangeNotification",
        "ConfigurationSnapshotDeliveryStarted",
        "OversizedConfigurationItemChangeNotification",
    }
)


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The files that were delivered."""
    if isinstance(body, str):
        is_validation = body.strip().rstrip(".") == _VALIDATION
        return Notice(ignored=(Ignored(reason="test_event"),)) if is_validation else None
    if not isinstance(body, dict):
        return None
    bucket, keys = body.get("s3Bucket"), body.get("s3ObjectKey")
    if isinstance(keys, str):
        keys = [keys]
    if not isinstance(bucket, str) or not isinstance(keys, list) or not keys:
        return _without_file(body.get("messageType"))
    asked = [object_or_ignored(bucket, key) if isinstance(key, str) else None for key in keys]
    if any(one is None for one in asked):
        return None
    return Notice(
        objects=tuple(one for one in asked if isinstance(one, ObjectRef)),
        ignored=tuple(one for one in asked if isinstance(one, Ignored)),
    )


def _without_file(kind: Any) -> Notice | None:
    if isinstance(kind, str) and kind in _CONFIG_WITHOUT_FILE:
        return Notice(ignored=(Ignored(reason="not_written", key=kind),))
    return None
