"""A message that is log events itself, as an object under reading."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ingestd.model import Delivery, Identity, ObjectRef
from ingestd.stores.base import OpenObject

PIECE_BYTES = 1024 * 1024


def identity_of(delivery: Delivery) -> Identity:
    """What a message is, however often and by whatever receipt it is handed out."""
    return Identity(f"message:{delivery.source}/{delivery.message_id}")


class MessageObject(OpenObject):
    """See the module. `chunks` may be asked for again, as the bytes are here."""

    whole: bytes

    def __init__(self, delivery: Delivery, data: bytes) -> None:
        self.ref = ObjectRef(store="message", bucket=delivery.source, key=delivery.message_id, size=len(data))
        self.identity = identity_of(delivery)
        self.size = len(data)
        self.origin = {"message_id": delivery.message_id}
        self.whole = data

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        for start in range(0, len(self.whole), PIECE_BYTES):
            yield self.whole[start : start + PIECE_BYTES]

    async def close(self) -> None:
        """See `OpenObject`."""
