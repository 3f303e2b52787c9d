"""Objects in the cloud given on the command line: a sample of those under a prefix, read as they come."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from ingestd.cli.streams import as_file
from ingestd.errors import ConfigError, Permanent, Problem

if TYPE_CHECKING:
    from ingestd.config.models import Root
    from ingestd.model import ObjectRef
    from ingestd.stores.base import Store

LISTED = 20_000
"""Keys among which the sample is chosen."""
T = TypeVar("T")


def is_url(text: str) -> bool:
    """Whether it names objects in a store rather than files."""
    return "://" in text


class RemoteObject(NamedTuple):
    """One object to read."""

    reach: Reach
    ref: ObjectRef

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.ref.key.rpartition("/")[2]

    @property
    def size(self) -> int | None:
        """Stored bytes, if known."""
        return self.ref.size

    def __str__(self) -> str:
        return self.ref.url

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Its stored bytes."""
        pieces = self.reach.pieces(self.ref)
        try:
            with as_file(pieces) as stream:
                yield stream
        finally:
            pieces.close()


class Reach:
    """Stores by URL, used from a thread that has no event loop: they run in a loop of their own."""

    def __init__(self, root: Root | None, source: str) -> None:
        self._root = root
        self._source = source
        self._stores: dict[str, Store] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stores", daemon=True)
        self._thread.start()

    def chosen(self, url: str, most: int) -> list[RemoteObject]:
        """At most so many objects (0: all) under a prefix, spread over the listing; the one, when it is a whole key.

        Always the same ones, as long as the bucket stays. Raises `Permanent` when there are none."""
        from ingestd.backfill.plan import place

        where = place(url)
        store = self._store(where.scheme)
        refs = self._run(_listed(store, where.bucket, where.prefix))
        exact = [ref for ref in refs if ref.key == where.prefix]
        found = exact or refs
        if not found:
            raise Permanent(f"{url}: there is no object under this prefix", reason="not_found")
        if most and len(found) > most:
            places = sorted(random.Random(0).sample(range(len(found)), most))  # noqa: S311 - no secret
            found = [found[at] for at in places]
        return [RemoteObject(self, ref) for ref in found]

    def pieces(self, ref: ObjectRef) -> Generator[bytes, None, None]:
        """The stored bytes of an object; closing the generator lets go of the connection."""
        closing = AsyncExitStack()
        try:
            opened = self._run(closing.enter_async_context(self._run(self._store(ref.store).open(ref))))
            chunks = opened.chunks()
            while (piece := self._run(_next(chunks))) is not None:
                yield piece
        finally:
            self._run(closing.aclose())

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        if self._loop.is_closed():
            return
        for store in self._stores.values():
            self._run(store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _store(self, scheme: str) -> Store:
        if scheme not in self._stores:
            self._stores[scheme] = self._run(_made(scheme, self._root, self._source))
        return self._stores[scheme]


async def _made(scheme: str, root: Root | None, source: str) -> Store:
    """The store as the configured source reads it; without a source for it, as the environment says."""
    from ingestd import assembly
    from ingestd.backfill.run import choose_source
    from ingestd.config import components

    able = [name for name in root.sources if scheme in assembly.schemes(name, root)] if root else []
    if root is not None and (able or source):
        return assembly.stores(choose_source(root, scheme, source), root)[scheme]
    try:
        module = components.load_store(scheme)
    except components.UnknownType as error:
        raise ConfigError([Problem(f"{scheme}://: {error}")]) from None
    if not hasattr(module, "from_environment"):
        raise ConfigError([Problem(f"{scheme}:// needs a configured source to be read with", hint="-c, --source")])
    store: Store = module.from_environment()
    return store


async def _listed(store: Store, bucket: str, prefix: str) -> list[ObjectRef]:
    """The first objects that have something in them."""
    refs: list[ObjectRef] = []
    async for listed in store.list_objects(bucket, prefix):
        if listed.ref.size != 0 and not listed.ref.key.endswith("/"):
            refs.append(listed.ref)
        if len(refs) >= LISTED:
            break
    return refs


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
