"""A message as it goes to the dead-letter queue: the body as it was, the reason as attributes."""

from __future__ import annotations

from typing import Any

from ingestd.model import Delivery

GROUP = "sqs.MessageGroupId"
"""Attribute of a `Delivery` from a FIFO queue: the group that it belongs to."""
MAX_ATTRIBUTES = 10
"""SQS takes no more on a message."""
DETAIL_CHARACTERS = 1_024
MAX_BYTES = 1_048_576
"""SQS's limit on body and attributes together."""


def dead_letter(delivery: Delivery, queue_url: str, reason: str, detail: str) -> dict[str, Any]:
    """The parameters of `SendMessage`. The message's own attributes come along as far as there is room."""
    told = {
        "ingestd_reason": reason,
        "ingestd_detail": detail[:DETAIL_CHARACTERS],
        "ingestd_source": delivery.source,
        "ingestd_message_id": delivery.message_id,
    }
    room = MAX_BYTES - len(delivery.body) - sum(map(_size, told.items()))
    if room < 0:  # the body matters most, and the reason fits always: SQS counts a name of a few bytes
        told = {"ingestd_reason": reason}
        room = 0
    for name, value in delivery.attributes.items():
        room -= _size((name, value))
        if name == GROUP or len(told) == MAX_ATTRIBUTES or room < 0:
            continue
        told.setdefault(name, value)
    letter: dict[str, Any] = {
        "QueueUrl": queue_url,
        "MessageBody": delivery.body.decode(errors="replace"),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": _allowed(value)} for name, value in told.items() if value
        },
    }
    if queue_url.endswith(".fifo"):
        letter["MessageGroupId"] = delivery.attributes.get(GROUP, delivery.message_id)
        letter["MessageDeduplicationId"] = delivery.message_id
    return letter


def _size(attribute: tuple[str, str]) -> int:
    name, value = attribute
    return len(name.encode()) + len("String") + len(value.encode(errors="replace"))


def _allowed(text: str) -> str:
    """Only characters that SQS takes: those that XML has."""
    return "".join(character if _is_allowed(ord(character)) else "\ufffd" for character in text)


def _is_allowed(code: int) -> bool:
    return code in {0x9, 0xA, 0xD} or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
