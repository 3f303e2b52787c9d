"""What a Pub/Sub subscription does with its messages: leases, redelivery, dead letters, order, exactly once.

Time is a clock that tests may move. Nothing here knows of gRPC.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_numbers = itertools.count(1)


@dataclass
class Message:
    """What was published."""

    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)
    ordering_key: str = ""
    message_id: str = ""
    published_at: float = 0.0


@dataclass
class Held:
    """A message of one subscription, handed out or not."""

    message: Message
    ack_id: str = ""
    until: float = 0.0
    """When its lease ends; 0 when it is nobody's."""
    attempts: int = 0


@dataclass
class Settings:
    """How a subscription was made."""

    topic: str
    ack_deadline_secs: float = 10.0
    is_ordered: bool = False
    is_exactly_once: bool = False
    dead_letter_topic: str = ""
    max_delivery_attempts: int = 0


class Subscription:
    """See the module. All methods are called with the lock of the `Broker`."""

    def __init__(self, name: str, settings: Settings, dead_letter: Callable[[str, Message], None]) -> None:
        self.name = name
        self.settings = settings
        self.messages: dict[str, Held] = {}
        """By message id, in the order of publishing."""
        self._dead_letter = dead_letter

    def pull(self, most: int, now: float) -> list[Held]:
        """Hand out what is free; of an ordering key nothing while an earlier batch of it is out."""
        self.expire(now)
        handed: list[Held] = []
        is_out = {held.message.ordering_key for held in self.messages.values() if held.until}
        for held in list(self.messages.values()):
            if len(handed) == most:
                break
            key = held.message.ordering_key if self.settings.is_ordered else ""
            if held.until or (key and key in is_out):
                continue
            if self._is_dead(held):
                continue
            held.attempts += 1
            held.ack_id = f"{held.message.message_id}:{next(_numbers)}"
            held.until = now + self.settings.ack_deadline_secs
            handed.append(held)
        return handed

    def _is_dead(self, held: Held) -> bool:
        most = self.settings.max_delivery_attempts
        if not most or held.attempts < most:
            return False
        del self.messages[held.message.message_id]
        told = {
            "CloudPubSubDeadLetterSourceSubscription": self.name.rpartition("/")[2],
            "CloudPubSubDeadLetterSourceDeliveryCount": str(held.attempts),
        }
        copy = Message(held.message.data, held.message.attributes | told, held.message.ordering_key)
        self._dead_letter(self.settings.dead_letter_topic, copy)
        return True

    def acknowledge(self, ack_ids: Sequence[str], now: float) -> dict[str, str]:
        """Finish messages; why others are not ours, which only an exactly-once subscription says."""
        return self._each(ack_ids, now, lambda held: void(self.messages.pop(held.message.message_id)))

    def modify(self, ack_ids: Sequence[str], secs: float, now: float) -> dict[str, str]:
        """Hold messages for so many seconds from now; give them back when that is 0."""

        def hold(held: Held) -> None:
            if secs:
                held.until = now + secs
            else:
                self._give_back(held)

        return self._each(ack_ids, now, hold)

    def _each(self, ack_ids: Sequence[str], now: float, act: Callable[[Held], None]) -> dict[str, str]:
        self.expire(now)
        wrong = {}
        for ack_id in ack_ids:
            held = self.messages.get(ack_id.partition(":")[0])
            if held is not None and held.ack_id == ack_id and held.until:
                act(held)
            elif self.settings.is_exactly_once:
                wrong[ack_id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
        return wrong

    def expire(self, now: float) -> None:
        """Take back what was held for too long."""
        for held in list(self.messages.values()):
            if held.until and held.until <= now:
                self._give_back(held)

    def _give_back(self, held: Held) -> None:
        """Of an ordering key, all that came after it as well."""
        held.until = 0.0
        key = held.message.ordering_key
        if not self.settings.is_ordered or not key:
            return
        ids = list(self.messages)
        for later in ids[ids.index(held.message.message_id) :]:
            if self.messages[later].message.ordering_key == key:
                self.messages[later].until = 0.0


class Broker:
    """All topics and subscriptions of a server. Thread-safe."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.topics: dict[str, list[str]] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds, as the server sees them."""
        return time.monotonic() + self._ahead

    def pass_time(self, secs: float) -> None:
        """Let so much time go by, without waiting."""
        with self.changed:
            self._ahead += secs
            self.changed.notify_all()

    def subscribe(self, name: str, settings: Settings) -> None:
        """Make a subscription of a topic that exists."""
        with self.changed:
            self.subscriptions[name] = Subscription(
                name, settings, lambda topic, copy: void(self.publish(topic, copy))
            )
            self.topics[settings.topic].append(name)

    def publish(self, topic: str, message: Message) -> str:
        """Put a message into every subscription of the topic; its id."""
        with self.changed:
            message.message_id = str(10_000_000_000 + next(_numbers))
            message.published_at = time.time()
            for name in self.topics[topic]:
                self.subscriptions[name].messages[message.message_id] = Held(message)
            self.changed.notify_all()
            return message.message_id

    def pull(self, name: str, most: int, wait_secs: float, is_wanted: Callable[[], bool]) -> list[Held]:
        """What is free, as soon as there is something; nothing after the time, or when nobody waits any more."""
        give_up = time.monotonic() + wait_secs
        with self.changed:
            while is_wanted():
                handed = self.subscriptions[name].pull(most, self.now())
                if handed or time.monotonic() >= give_up:
                    return handed
                self.changed.wait(0.05)
            return []


def void(_: object) -> None:
    """Drop a result."""
