"""SNS: messages about the subscription itself, and the envelope around everything else.

A subscription with raw delivery has no envelope; then nothing of this is needed. The address in a confirmation
is not visited: whoever may send into the queue would choose where the daemon goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestd.notices.base import Ignored, Notice

_REASONS = {
    "SubscriptionConfirmation": "subscription_confirmation",
    "UnsubscribeConfirmation": "unsubscribe_confirmation",
}


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """A subscription that began or ended: nothing to read."""
    if not isinstance(body, dict) or not isinstance(body.get("TopicArn"), str):
        return None
    kind = body.get("Type")
    reason = _REASONS.get(kind) if isinstance(kind, str) else None
    return Notice(ignored=(Ignored(reason=reason, key=body["TopicArn"]),)) if reason else None


def unwrap(body: Any) -> str | None:
    """The message in the envelope; None when there is no envelope."""
    if not isinstance(body, dict) or body.get("Type") != "Notification":
        return None
    message = body.get("Message")
    return message if isinstance(message, str) and isinstance(body.get("TopicArn"), str) else None
