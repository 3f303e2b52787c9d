"""What only the storage queue source does: pop receipts that change, pauses, poison messages with reasons."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.storage.queue import AccountSasPermissions, ResourceTypes, generate_account_sas
from azure.storage.queue._shared.models import Services

from ingestd.cloud.azure import Account, Clients
from ingestd.errors import Permanent, Retryable
from ingestd.model import Delivery
from ingestd.sources import azure_queue
from ingestd.sources._azure_letters import MAX_BYTES, poison
from ingestd.sources.azure_queue import BATCH, CONTRIBUTOR, SENDER, AzureQueueSource, Config, stores
from tests.azure.proxy import Hold, Proxy, Refuse, in_front_of, operation, operations
from tests.azure.servers import KEY, NAME, Azure


@pytest.fixture
async def proxy(azure: Azure) -> AsyncIterator[Proxy]:
    """A proxy before the queues."""
    async with in_front_of(azure.queues.url.rstrip("/").rpartition("/")[0]) as made:
        yield made


class Made:
    """Sources of a test, which are closed at its end."""

    def __init__(self, azure: Azure, folder: Path) -> None:
        self.azure = azure
        self.sources: list[AzureQueueSource] = []
        self._folder = folder

    def source(self, queue: str, proxy: Proxy | None = None, **settings: Any) -> AzureQueueSource:
        """A source, perhaps by way of the proxy."""
        queues = f"{proxy.url}/devstoreaccount1" if proxy else ""
        secret = self.azure.secret(self._folder, queues=queues)
        config = Config(type="azure_queue", connection_string=secret, queue=queue, **settings)
        self.sources.append(AzureQueueSource("entra", config))
        return self.sources[-1]


@pytest.fixture
async def made(azure: Azure, tmp_path: Path) -> AsyncIterator[Made]:
    """A maker of sources."""
    maker = Made(azure, tmp_path)
    yield maker
    for source in maker.sources:
        await source.close()


# --- receiving ----------------------------------------------------------------------------------------------


async def test_a_delivery_tells_what_the_queue_tells(azure: Azure, made: Made) -> None:
    """The text as it was sent, when it was sent, how often it was handed out."""
    queue = azure.queue()
    azure.send(queue, "Z3LDvMOfZQ== <&>")
    before = time.time()
    (delivery,) = await made.source(queue, lease_secs=90).receive(10, 5)
    assert delivery.body == b"Z3LDvMOfZQ== <&>"
    assert delivery.receive_count == 1
    assert delivery.sent_at is not None
    assert abs(delivery.sent_at - before) < 60
    assert 90 <= delivery.lease_until - delivery.received_at <= 99


async def test_a_message_whose_lease_ran_out_comes_again(azure: Azure, made: Made) -> None:
    """With a higher count."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue, lease_secs=1)
    (first,) = await source.receive(10, 5)
    (again,) = await source.receive(10, 5)
    assert (again.message_id, again.receive_count) == (first.message_id, 2)


async def test_many_messages_are_received_by_several_calls_at_once(azure: Azure, proxy: Proxy, made: Made) -> None:
    """More calls while answers come full; never more messages than asked for."""
    queue = azure.queue()
    for number in range(3 * BATCH + 4):
        azure.send(queue, str(number))
    source = made.source(queue, proxy)
    bodies: set[bytes] = set()
    calls = []
    while len(bodies) < 3 * BATCH + 4:
        before = len(proxy.seen)
        received = await source.receive(2 * BATCH, 1)
        assert 0 < len(received) <= 2 * BATCH
        bodies |= {delivery.body for delivery in received}
        calls.append(len(proxy.seen) - before)
    assert calls == [1, 2, 2]


async def test_an_empty_queue_is_looked_at_less_and_less(azure: Azure, proxy: Proxy, made: Made) -> None:
    """Each look is paid for; a message that comes makes the looks frequent again."""
    queue = azure.queue()
    source = made.source(queue, proxy, idle_poll_secs=0.8)
    began = time.monotonic()
    for _ in range(20):
        assert await source.receive(10, 0.1) == []
    passed = time.monotonic() - began
    assert len(operations(proxy, "receive")) <= 4 + max(1, (passed - 0.7) / 0.8)  # after 0, 0.1, 0.3, 0.7, 1.5 s …
    assert source._pause == 0.8
    azure.send(queue, "a")
    assert len(await source.receive(10, 5)) == 1
    assert source._pause == 0


async def test_what_was_given_back_for_a_moment_is_still_there(azure: Azure, made: Made) -> None:
    """`run --once` does not end before it was seen again."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue)
    received = await source.receive(10, 0)
    await source.nack(received, 1.0)
    assert [d.message_id for d in await source.receive(10, 0)] == [received[0].message_id]


# --- leases -------------------------------------------------------------------------------------------------


async def test_an_extension_changes_the_receipt(azure: Azure, made: Made) -> None:
    """The new one deletes the message; the old one counts as not ours and harms nobody."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue)
    (received,) = await source.receive(10, 5)
    (extended,) = await source.extend([received], 60)
    assert extended.receipt != received.receipt
    assert await source.extend([received], 60) == []
    await source.ack([received])
    assert azure.left(queue) == 1
    await source.ack([extended])
    assert azure.left(queue) == 0


async def test_an_acknowledgement_during_an_extension_uses_its_receipt(
    azure: Azure, proxy: Proxy, made: Made
) -> None:
    """Otherwise the message would come again when its lease runs out."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue, proxy)
    received = await source.receive(10, 5)
    extending = asyncio.create_task(source.extend(received, 60))
    await asyncio.sleep(0)
    await source.ack(received)
    await extending
    assert azure.left(queue) == 0


async def test_leases_do_not_run_out_behind_acknowledgements(
    azure: Azure, proxy: Proxy, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit there are hundreds of them, and the service may be slow."""
    monkeypatch.setattr(azure_queue, "CALLS", 1)
    queue = azure.queue()
    for name in "ab":
        azure.send(queue, name)
    source = made.source(queue, proxy)
    first, second = await source.receive(10, 5)
    go_on = asyncio.Event()
    proxy.rule = lambda seen: Hold(go_on) if operation(seen) == "delete" else None
    acknowledging = asyncio.create_task(source.ack([first]))
    await asyncio.sleep(0)
    (extended,) = await source.extend([second], 60)
    assert extended.receipt != second.receipt
    assert not acknowledging.done()
    go_on.set()
    await acknowledging
    assert azure.left(queue) == 1


async def test_leases_differ_a_little(azure: Azure, made: Made) -> None:
    """So that thousands are not extended at the same moment."""
    source = made.source(azure.queue())
    assert len({source._spread(300) for _ in range(50)}) > 5
    assert all(300 <= source._spread(300) <= 330 for _ in range(50))


async def test_a_lease_that_could_not_be_extended_now_is_not_lost(azure: Azure, proxy: Proxy, made: Made) -> None:
    """It is asked for again while there is time."""
    queue = azure.queue()
    for name in "ab":
        azure.send(queue, name)
    source = made.source(queue, proxy)
    received = await source.receive(10, 5)
    failing = received[0].message_id
    proxy.rule = lambda seen: Refuse(503, "ServerBusy") if failing in seen.path else None
    extended = await source.extend(received, 60)
    assert [d.message_id for d in extended] == [d.message_id for d in received]
    assert [d.receipt == e.receipt for d, e in zip(received, extended, strict=True)] == [True, False]
    proxy.rule = lambda seen: Refuse(503, "ServerBusy")
    with pytest.raises(Retryable):
        await source.extend(extended, 60)


async def test_an_acknowledgement_that_failed_is_told(azure: Azure, proxy: Proxy, made: Made) -> None:
    """Every message is tried; the caller repeats the call."""
    queue = azure.queue()
    for name in "ab":
        azure.send(queue, name)
    source = made.source(queue, proxy)
    received = await source.receive(10, 5)
    proxy.fail("s3 DELETE", Refuse(500))
    await source.ack(received[:1])  # a single failure costs one more call
    failing = received[1].message_id
    proxy.rule = lambda seen: Refuse(500) if failing in seen.path else None
    with pytest.raises(Retryable):
        await source.ack(received)
    assert azure.left(queue) == 1
    proxy.rule = lambda seen: None
    await source.ack(received)
    assert azure.left(queue) == 0


def agents(proxy: Proxy) -> list[str]:
    """Who asked for the deletions, in turn."""
    return [seen.headers["User-Agent"].partition("-")[0] for seen in operations(proxy, "delete")]


@pytest.mark.parametrize("sign_in", ["key", "signature"])
async def test_a_message_is_deleted_without_the_sdk(
    azure: Azure, proxy: Proxy, made: Made, tmp_path: Path, sign_in: str
) -> None:
    """With one request for each, however we sign in."""
    queue = azure.queue()
    for name in "abc":
        azure.send(queue, name)
    source = made.source(queue, proxy)
    if sign_in == "signature":
        permission = AccountSasPermissions(read=True, update=True, process=True, delete=True)
        kinds = ResourceTypes(service=True, container=True, object=True)
        until = datetime.now(UTC) + timedelta(hours=1)
        sas = generate_account_sas(NAME, KEY, kinds, permission, until, services=Services(queue=True))
        (tmp_path / "sas").write_text(sas)
        settings: Any = {"account_url": f"{proxy.url}/{NAME}", "sas_token": {"file": str(tmp_path / "sas")}}
        source = AzureQueueSource("entra", Config(type="azure_queue", queue=queue, **settings))
        made.sources.append(source)
    await source.ack(await source.receive(10, 5))
    assert azure.left(queue) == 0
    assert agents(proxy) == ["ingestd"] * 3


@pytest.mark.parametrize("status", [403, 404, 500, 307])
async def test_a_deletion_that_does_not_go_well_is_the_sdks(
    azure: Azure, proxy: Proxy, made: Made, status: int
) -> None:
    """It knows what to do about it; the next message is tried without it again."""
    queue = azure.queue()
    for name in "ab":
        azure.send(queue, name)
    source = made.source(queue, proxy)
    first, second = await source.receive(10, 5)
    proxy.fail("s3 DELETE", Refuse(status))
    await source.ack([first])
    await source.ack([second])
    assert azure.left(queue) == 0
    assert agents(proxy) == ["ingestd", "azsdk", "ingestd"]


async def test_the_reader_sdk_has_messages_deleted_by_the_sdk(azure: Azure, proxy: Proxy, made: Made) -> None:
    """As it says."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue, proxy, reader="sdk")
    await source.ack(await source.receive(10, 5))
    assert agents(proxy) == ["azsdk"]


# --- poison messages ----------------------------------------------------------------------------------------


async def test_a_poison_message_carries_its_reason(azure: Azure, made: Made) -> None:
    """Around the body, because a storage queue's messages have no attributes."""
    queue, poisoned = azure.queue(), azure.queue()
    azure.send(queue, '{"what": "is this?"}')
    source = made.source(queue, poison_queue=poisoned)
    (delivery,) = await source.receive(10, 5)
    await source.dead_letter(delivery, "unknown_message", "no known notice\x00")
    assert azure.left(queue) == 0
    (text,) = azure.peek(poisoned)
    letter = json.loads(text)
    assert letter["body"] == '{"what": "is this?"}'
    assert letter["ingestd_reason"] == "unknown_message"
    assert letter["ingestd_message_id"] == delivery.message_id


async def test_a_message_is_not_deleted_before_its_copy_is_there(azure: Azure, proxy: Proxy, made: Made) -> None:
    """When the poison queue fails, the message stays."""
    queue, poisoned = azure.queue(), azure.queue()
    azure.send(queue, "a")
    source = made.source(queue, proxy, poison_queue=poisoned)
    (delivery,) = await source.receive(10, 5)
    proxy.rule = lambda seen: Refuse(500) if operation(seen) == "send" else None
    with pytest.raises(Retryable):
        await source.dead_letter(delivery, "poison", "cannot be read")
    assert azure.left(queue) == 1


@pytest.mark.parametrize("body", [b"x" * MAX_BYTES, b'"' * 60_000, b"\xff" * 1000, "\U0001f48e".encode() * 16_384])
def test_a_poison_message_always_fits(body: bytes) -> None:
    """The body matters more than the reason."""
    delivery = Delivery(source="entra", message_id="m1", body=body)
    text = poison(delivery, "unknown_message", "d" * 10_000)
    assert len(text.encode()) <= MAX_BYTES
    assert body.decode(errors="replace") in (text, json.loads(text)["body"] if text.startswith("{") else text)


# --- failures and doctor ------------------------------------------------------------------------------------


async def test_a_queue_that_is_not_there_is_permanent(azure: Azure, made: Made) -> None:
    """And named."""
    with pytest.raises(Permanent, match="no-such-queue"):
        await made.source("no-such-queue").receive(10, 0)


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refuse(403, "AuthorizationPermissionMismatch"), f"the role {CONTRIBUTOR} is missing"),
        (Refuse(403, "AuthorizationFailure"), "network rules"),
        (Refuse(403, "AuthenticationFailed"), "does not take our credentials"),
        (Refuse(401, "InvalidAuthenticationInfo"), "does not take our credentials"),
        (Refuse(503, "ServerBusy"), "slow down"),
        (Refuse(500, "InternalError"), "on the service's side"),
    ],
    ids=lambda value: value.code if isinstance(value, Refuse) else "",
)
async def test_each_refusal_passes_and_says_what_is_missing(
    azure: Azure, proxy: Proxy, made: Made, refusal: Refuse, text: str
) -> None:
    """Roles take effect late, and somebody may be mending them."""
    source = made.source(azure.queue(), proxy)
    proxy.rule = lambda seen: refusal
    with pytest.raises(Retryable, match=text):
        await source.receive(10, 0)


async def test_check_tries_each_right_and_changes_nothing(azure: Azure, proxy: Proxy, made: Made) -> None:
    """All is well on a queue of ours; the message in it is not touched."""
    queue, poisoned = azure.queue(), azure.queue()
    azure.send(queue, "a")
    checks = await made.source(queue, proxy, poison_queue=poisoned).check()
    assert [(check.what, check.detail) for check in checks if not check.ok] == []
    assert len(checks) == 5
    assert (azure.peek(queue), azure.peek(poisoned)) == (["a"], [])


@pytest.mark.parametrize(
    ("denied", "role"), [("update", CONTRIBUTOR), ("receive", CONTRIBUTOR), ("delete", CONTRIBUTOR), ("send", SENDER)]
)
async def test_check_names_the_missing_role(azure: Azure, proxy: Proxy, made: Made, denied: str, role: str) -> None:
    """The Message Processor's role lacks the update, for one."""
    source = made.source(azure.queue(), proxy, poison_queue=azure.queue())
    proxy.rule = lambda seen: Refuse(403, "AuthorizationPermissionMismatch") if operation(seen) == denied else None
    assert [check.missing_permission for check in await source.check() if not check.ok] == [role]


async def test_a_rotated_secret_is_read_when_the_old_one_is_refused(azure: Azure, made: Made) -> None:
    """No restart is needed; the secret is not read at each refusal."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue)
    now, good = 1000.0, azure.connection_string()
    secrets = [good.replace("Eby8", "AAAA"), good]
    account = Account(connection_string=lambda: secrets.pop(0) if len(secrets) > 1 else secrets[0])
    source._clients = Clients(account, clock=lambda: now)
    source._clients._looked_at = now
    with pytest.raises(Retryable):
        await source.receive(10, 0)
    with pytest.raises(Retryable):
        await source.receive(10, 0)
    now += 31
    with pytest.raises(Retryable):
        await source.receive(10, 0)
    assert len(await source.receive(10, 0)) == 1


def test_the_store_reads_as_the_queue_is_read(azure: Azure, tmp_path: Path) -> None:
    """One account, and how long append blobs are followed."""
    secret = azure.secret(tmp_path)
    config = Config(type="azure_queue", connection_string=secret, queue="blob-events", append_poll_secs=30)
    (settings,) = stores(config).values()
    assert settings["reader"] == "fast"
    assert settings["following"] == {"poll_secs": 30, "grace_secs": 900, "quiet_secs": 3600}


async def test_depth_is_what_waits(azure: Azure, made: Made) -> None:
    """For the gauge and for scaling."""
    queue = azure.queue()
    azure.send(queue, "a")
    azure.send(queue, "b")
    assert await made.source(queue).depth() == 2


async def test_extending_after_the_message_expired_answers_nothing(azure: Azure, made: Made) -> None:
    """What is gone is lost, not an error."""
    queue = azure.queue()
    azure.send(queue, "a")
    source = made.source(queue)
    received = await source.receive(10, 5)
    azure.queues.get_queue_client(queue).clear_messages()
    assert await source.extend(received, 60) == []
    await source.ack([msgspec.structs.replace(received[0], receipt="gone")])
