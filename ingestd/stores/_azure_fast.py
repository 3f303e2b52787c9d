"""Blobs as obstore reads them: where the SDK would go, with its credentials. Only what a notice pinned to an etag is
read so: the answer does not tell block blobs from append blobs, and those are never pinned."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ingestd.cloud import azure
from ingestd.errors import Permanent, Retryable
from ingestd.model import Identity, ObjectRef
from ingestd.stores._fast import FastAnswer, FastReader, NotForFast, client_options, retry_config
from ingestd.stores.base import OpenObject

if TYPE_CHECKING:
    from ingestd.stores.azure_blob import AzureBlobStore

PIECE_BYTES = 1024 * 1024


def fast_reader(clients: azure.Clients) -> FastReader:
    """A reader for the containers of all accounts; `bucket` is account, `/`, container."""

    async def make(bucket: str) -> Any:
        from obstore.store import AzureStore

        account, _, container = bucket.partition("/")
        try:
            endpoint = await clients.blob_address(account)
        except Permanent as error:
            raise NotForFast(str(error)) from error
        if endpoint.startswith("https:") and os.environ.get("SSL_CERT_FILE"):
            raise NotForFast("the SDK was given certificates that obstore does not know of")

        async def credential() -> Any:
            return await clients.credential_of_now()

        return AzureStore(
            container,
            account_name=account,
            endpoint=endpoint,
            credential_provider=credential,
            client_options={**client_options(), "allow_http": endpoint.startswith("http:")},
            retry_config=retry_config(),
        )

    return FastReader(make)


class FastBlob(OpenObject):
    """A blob whose body comes by obstore; when the connection breaks, the SDK reads the rest."""

    def __init__(self, store: AzureBlobStore, ref: ObjectRef, answer: FastAnswer) -> None:
        container, _, name = ref.key.partition("/")
        self.ref = ref
        self.identity = Identity(f"{ref.url}#{answer.etag}")
        self.origin = {"azure_account": ref.bucket, "azure_container": container, "azure_blob": name}
        self.size: int = answer.length
        self.modified = answer.modified.timestamp()
        self._store = store
        self._etag = answer.etag
        self.whole = answer.whole
        self._body = answer.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        position = 0
        while position < self.size:
            try:
                piece = await self._body.read(PIECE_BYTES)
            except Retryable:
                piece = b""
            if not piece:
                break
            position += len(piece)
            yield piece
        if position < self.size:
            async for piece in self._store.rest_of(self.ref, self._etag, position, self.size):
                yield piece

    async def close(self) -> None:
        """See `OpenObject`."""
        self._body.close()
