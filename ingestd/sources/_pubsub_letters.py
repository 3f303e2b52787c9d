"""A message as it goes to the dead-letter topic: the data as they were, the reason as attributes."""

from __future__ import annotations

from ingestd.model import Delivery

MAX_ATTRIBUTES = 100
MAX_NAME_BYTES = 256
MAX_VALUE_BYTES = 1_024
MAX_BYTES = 10_000_000
"""Pub/Sub's limit on a message, attributes included."""
RESERVED = "goog"
"""No attribute that is published may begin so."""


def letter_attributes(delivery: Delivery, reason: str, detail: str) -> dict[str, str]:
    """The message's own attributes as far as there is room, and why it was set aside."""
    told = {
        "ingestd_reason": reason,
        "ingestd_detail": _cut(detail),
        "ingestd_source": _cut(delivery.source),
        "ingestd_message_id": delivery.message_id,
    }
    room = MAX_BYTES - len(delivery.body)
    if room < sum(map(_size, told.items())):  # the data matter most
        return {}
    room -= sum(map(_size, told.items()))
    for name, value in delivery.attributes.items():
        room -= _size((name, value))
        fits = len(name.encode()) <= MAX_NAME_BYTES and len(value.encode()) <= MAX_VALUE_BYTES
        if name.startswith(RESERVED) or not name or not fits or len(told) == MAX_ATTRIBUTES or room < 0:
            continue
        told.setdefault(name, value)
    return told


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:MAX_VALUE_BYTES].decode(errors="ignore")


def _size(attribute: tuple[str, str]) -> int:
    return len(attribute[0].encode()) + len(attribute[1].encode(errors="replace"))
