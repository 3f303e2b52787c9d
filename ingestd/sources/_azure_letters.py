"""A message as it goes to the poison queue. A storage queue's messages have no attributes, so the reason goes around
the body: `{"ingestd_reason", "ingestd_detail", "ingestd_source", "ingestd_message_id", "body"}`."""

from __future__ import annotations

import json

from ingestd.model import Delivery

DETAIL_CHARACTERS = 1_024
MAX_BYTES = 65_536
"""The service's limit on the text of a message."""


def poison(delivery: Delivery, reason: str, detail: str) -> str:
    """The text to send. A body that leaves no room for the reason goes as it was: it matters most, and the table
    of rejects has the reason."""
    body = delivery.body.decode(errors="replace")
    told = {
        "ingestd_reason": reason,
        "ingestd_detail": detail[:DETAIL_CHARACTERS],
        "ingestd_source": delivery.source,
        "ingestd_message_id": delivery.message_id,
        "body": body,
    }
    for omitted in ("", "ingestd_detail", "ingestd_source", "ingestd_message_id"):
        told.pop(omitted, None)
        text = _sendable(json.dumps(told))
        if len(text.encode()) <= MAX_BYTES:
            return text
    return _sendable(body)


def _sendable(text: str) -> str:
    """Only characters that XML has, in which messages are sent."""
    return "".join(character if _is_allowed(ord(character)) else "\ufffd" for character in text)


def _is_allowed(code: int) -> bool:
    return code in {0x9, 0xA, 0xD} or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
