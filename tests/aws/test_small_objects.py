"""Small objects of S3, taken whole with their answer: from servers that lie, break off, or are never done."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.cloud.aws import Account, Clients
from ingestd.cloud.aws_http import SignedHttp
from ingestd.errors import AttemptFailed
from ingestd.model import ObjectRef
from ingestd.stores import s3
from ingestd.stores._fast import SMALL_BYTES
from ingestd.stores._s3_small import SmallObjects
from ingestd.stores.s3 import Reader
from tests.aws.servers import REGION
from tests.azure.identity import certificate
from tests.raw_http import SILENCE, RawServer, answer, raw_server

NAMED: dict[str, Any] = {"ETag": '"abc"', "Last_Modified": "Sat, 21 Nov 2026 16:38:49 GMT"}
BODY = b"0123456789"


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A server that has what is asked for."""
    async with raw_server() as made:
        made.default = answer(body=BODY, **NAMED)
        yield made


@pytest.fixture
async def clients(server: RawServer) -> AsyncIterator[Clients]:
    """Clients of that server."""
    made = Clients(Account(region=REGION, endpoint_url=server.url))
    yield made
    await made.close()


@pytest.fixture
async def small(clients: Clients) -> AsyncIterator[SmallObjects]:
    """What is tested."""
    made = SmallObjects(clients, requester_pays=False)
    yield made
    await made.close()


async def is_read(small: SmallObjects) -> bool:
    """Whether the object came whole."""
    found = await small.read("logs", "a.json", "abc")
    assert found is None or found.whole == BODY
    return found is not None


REFUSED = {
    "no length": answer(body=BODY, Content_Length=None, **NAMED),
    "a negative length": answer(body=BODY, **NAMED | {"Content_Length": "-10"}),
    "a length in words": answer(body=BODY, **NAMED | {"Content_Length": "ten"}),
    "two lengths": answer(body=BODY, **NAMED | {"content_length": "5"}),
    "a length in chunks": answer(body=b"a\r\n" + BODY + b"\r\n0\r\n\r\n", **NAMED | {"Transfer_Encoding": "chunked"}),
    "chunks": answer(
        body=b"a\r\n" + BODY + b"\r\n0\r\n\r\n", **NAMED | {"Content_Length": None, "Transfer_Encoding": "chunked"}
    ),
    "more than is small": answer(body=b"x" * (SMALL_BYTES + 1), **NAMED),
    "a part": answer("206 Partial Content", BODY, **NAMED),
    "nothing new": answer("304 Not Modified", **NAMED | {"Content_Length": None}),
    "another place": answer("307 Temporary Redirect", **NAMED | {"Location": "http://127.0.0.1:9/else"}),
    "other content": answer("412 Precondition Failed", b"<Error/>"),
    "no ETag": answer(body=BODY, Last_Modified="Sat, 21 Nov 2026 16:38:49 GMT"),
    "an ETag that is no text": answer(body=BODY, **NAMED | {"ETag": '"\xff\x80"'}),
    "a date that is none": answer(body=BODY, **NAMED | {"Last_Modified": "yesterday"}),
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-More: x\r\n" * 10_000 + b"\r\n",
    "a header without end": answer(body=BODY, **NAMED | {"X_Long": "x" * 1_000_000}),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_a_small_object_is_left_to_the_sdk(
    server: RawServer, small: SmallObjects, what: str
) -> None:
    """After one answer, which is followed nowhere; what is asked for next is read."""
    server.answers = [REFUSED[what]]
    server.close_after = "Content-Length" not in REFUSED[what].decode("latin-1")
    assert not await is_read(small)
    assert len(server.heads) == 1
    assert await is_read(small)


async def test_what_is_compressed_is_read_as_it_lies_there(server: RawServer, small: SmallObjects) -> None:
    """Decompressing it is not the client's to do, whatever the object says of itself."""
    server.answers = [answer(body=BODY, **NAMED | {"Content_Encoding": "gzip"})]
    assert await is_read(small)


async def test_a_connection_that_was_closed_meanwhile_costs_no_read(server: RawServer, small: SmallObjects) -> None:
    """Servers close those that were idle for a while, without saying so."""
    server.close_after = True
    assert [await is_read(small) for _ in range(5)] == [True] * 5


@pytest.mark.parametrize("said", [SILENCE, answer(body=BODY[:3], **NAMED | {"Content_Length": "10"})])
async def test_a_read_that_is_given_up_lets_go_of_its_connection(
    server: RawServer, small: SmallObjects, said: bytes | None
) -> None:
    """Before the answer as well as in its body."""
    server.answers = [said]
    reading = asyncio.create_task(small.read("logs", "a.json", "abc"))
    await asyncio.wait_for(server.asked.wait(), 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(server.all_closed.wait(), 10)
    assert await is_read(small)


class SlowClients(Clients):
    """Clients that take their time to be made."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def get(self, service: str) -> Any:
        """See `Clients`."""
        self.asked.set()
        await self.go_on.wait()
        return await super().get(service)


async def test_what_is_opening_while_it_is_closed_is_closed_too(server: RawServer) -> None:
    """Nobody else would close the session."""
    clients = SlowClients(Account(region=REGION, endpoint_url=server.url))
    http = SignedHttp(clients, "s3", 10.0)
    opening = asyncio.create_task(http.open())
    await clients.asked.wait()
    closing = asyncio.create_task(http.close())
    await asyncio.sleep(0)
    clients.go_on.set()
    await asyncio.gather(opening, closing)
    assert not http.is_open
    await clients.close()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
async def test_certificates_of_ones_own_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """By either of the variables that the SDK looks at; and not without."""
    file, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    async with raw_server(context) as server:
        server.default = answer(body=BODY, **NAMED)
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv(variable, str(file))
            clients = Clients(Account(region=REGION, endpoint_url=server.url))
            small = SmallObjects(clients, requester_pays=False)
            assert await is_read(small) == trusted
            await small.close()
            await clients.close()


@pytest.mark.parametrize("reader", ["sdk", "fast"])
@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("etag", [{}, {"ETag": '""'}])
async def test_an_object_without_an_etag_cannot_be_known_again(
    server: RawServer, reader: Reader, size: int | None, etag: dict[str, Any]
) -> None:
    """Whatever was written there later would pass for it."""
    server.default = answer(body=BODY, **NAMED | {"ETag": None} | etag)
    store = s3.build(Account(region=REGION, endpoint_url=server.url), reader=reader)
    with pytest.raises(AttemptFailed, match=r"s3://logs/a\.json: the server names no ETag"):
        await store.open(ObjectRef(store="s3", bucket="logs", key="a.json", size=size))
    await store.close()
