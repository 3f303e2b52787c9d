"""Deleting an Azure queue's messages without the SDK: as whom, where, and what a hostile or broken server gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ingestd.cloud.azure import Account, Clients
from ingestd.sources._azure_deletions import Deletions
from tests.azure.servers import KEY
from tests.raw_http import SILENCE, RawServer, answer, raw_server

DELETED = answer("204 No Content", Content_Length=None)
REFUSED = answer("403 Forbidden")


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A server that deletes whatever it is told to."""
    async with raw_server() as made:
        made.default = DELETED
        yield made


class Told:
    """An account by connection string, and how often that was read."""

    def __init__(self, url: str, name: str = "logs") -> None:
        self.times = 0
        self.key = KEY
        self.account = Account(connection_string=self._read)
        self._text = f"AccountName={name};QueueEndpoint={url};BlobEndpoint={url};AccountKey="

    def _read(self) -> str:
        self.times += 1
        return self._text + self.key


@pytest.fixture
async def told(server: RawServer) -> Told:
    """The account that most tests sign in with."""
    return Told(f"{server.url}/logs")


@pytest.fixture
async def clients(told: Told) -> AsyncIterator[Clients]:
    """Its clients."""
    made = Clients(told.account)
    yield made
    await made.close()


@pytest.fixture
async def deletions(clients: Clients) -> AsyncIterator[Deletions]:
    """What is tested."""
    made = Deletions(clients, "q", 4)
    yield made
    await made.close()


async def test_the_account_may_have_any_address(server: RawServer) -> None:
    """Its name is that of the connection string, and no part of the host."""
    clients = Clients(Told(f"{server.url}/", "elsewhere").account)
    deletions = Deletions(clients, "q", 4)
    assert await deletions.delete("7b1f-0a", "AgAAA+/= &")
    assert server.heads[0].startswith("DELETE /q/messages/7b1f-0a?popreceipt=AgAAA%2B%2F%3D%20%26 HTTP/1.1\r\n")
    assert "Authorization: SharedKey elsewhere:" in server.heads[0]
    await deletions.close()
    await clients.close()


async def test_a_signature_is_sent_as_it_was_given(server: RawServer) -> None:
    """It is encoded already, and may not be encoded once more."""
    signature = "sv=1&se=2026-01-01T00:00:00Z&sig=a%2Bb%2F%3D"
    clients = Clients(Account(account_url=f"{server.url}/logs", sas_token=lambda: f"?{signature}"))
    deletions = Deletions(clients, "q", 4)
    assert await deletions.delete("m", "r")
    assert server.heads[0].startswith(f"DELETE /logs/q/messages/m?popreceipt=r&{signature} HTTP/1.1\r\n")
    assert "Authorization" not in server.heads[0]
    await deletions.close()
    await clients.close()


async def test_the_secret_is_not_read_for_each_message(server: RawServer, told: Told, deletions: Deletions) -> None:
    """Refusals included: it may lie in a vault, which may be slow, or away."""
    server.default = REFUSED
    assert await asyncio.gather(*(deletions.delete(str(number), "r") for number in range(20))) == [False] * 20
    assert told.times == 1


async def test_a_rotated_secret_is_used_with_the_clients_that_have_it(
    server: RawServer, told: Told, clients: Clients, deletions: Deletions
) -> None:
    """They are replaced when the old one is refused, and with them what signs here."""
    server.default = REFUSED
    assert not await deletions.delete("a", "r")
    told.key = KEY.replace("Eby8", "AAAA")
    await clients.refused()
    server.default = DELETED
    assert await deletions.delete("a", "r")
    old, new = (head.partition("SharedKey ")[2].partition("\r\n")[0] for head in server.heads)
    assert old != new
    assert told.times == 3


async def test_clients_of_a_secret_that_was_replaced_are_too(told: Told, clients: Clients) -> None:
    """Or nobody would notice, when the old one is refused, that another is there."""
    before = await clients.queue("q")
    told.key = KEY.replace("Eby8", "AAAA")
    await clients.blobs("logs")
    assert await clients.queue("q") is not before


async def test_a_token_is_renewed_when_it_expires(server: RawServer) -> None:
    """Not for each message, and not after it is worth nothing."""
    client = SimpleNamespace(url=f"{server.url}/q", account_name="logs")
    lives = iter([timedelta(seconds=-1), timedelta(minutes=1)])
    given: list[str] = []

    class StubClients:
        async def queue(self, name: str) -> Any:
            """The same each time."""
            return client

        async def credential_in_use(self) -> dict[str, Any]:
            """The next token."""
            given.append(f"token-{len(given)}")
            return {"token": given[-1], "expires_at": datetime.now(UTC) + next(lives)}

    stub: Any = StubClients()
    deletions = Deletions(stub, "q", 4)
    assert [await deletions.delete("a", "r") for _ in range(4)] == [True] * 4
    used = [head.partition("Bearer ")[2].partition("\r\n")[0] for head in server.heads]
    assert used == ["token-0", "token-1", "token-1", "token-1"]
    await deletions.close()


async def test_what_signs_is_not_shown(deletions: Deletions) -> None:
    """Whoever prints it, in an error or a log."""
    assert await deletions.delete("a", "r")
    assert KEY not in repr(deletions._way)


@pytest.mark.parametrize(
    "said",
    [
        answer("200 OK"),
        answer("204 No Content", b"01234"),
        answer("307 Temporary Redirect", Location="http://127.0.0.1:9/"),
        answer("500 Error", b"x" * 1_000_000, Content_Length="99999999"),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)
async def test_any_other_answer_is_left_to_the_sdk(server: RawServer, deletions: Deletions, said: bytes) -> None:
    """After one request; the next message is deleted."""
    server.answers = [said]
    assert not await deletions.delete("a", "r")
    assert len(server.heads) == 1
    assert await deletions.delete("b", "r")


async def test_a_name_from_elsewhere_stays_below_the_queue(server: RawServer, deletions: Deletions) -> None:
    """It is data, and no path."""
    assert await deletions.delete("../x?y#z\r\nX: 1", "r")
    assert server.heads[0].startswith(
        "DELETE /logs/q/messages/..%2Fx%3Fy%23z%0D%0AX%3A%201?popreceipt=r HTTP/1.1\r\n"
    )


async def test_a_deletion_that_is_given_up_lets_go_of_its_connection(server: RawServer, deletions: Deletions) -> None:
    """So that a drain ends."""
    server.answers = [SILENCE]
    deleting = asyncio.create_task(deletions.delete("a", "r"))
    await asyncio.wait_for(server.asked.wait(), 10)
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    await asyncio.wait_for(server.all_closed.wait(), 10)
