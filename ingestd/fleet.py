"""The sources at work: each one's pipeline is begun, replaced and ended without touching the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ingestd import assembly
from ingestd.config.models import Root
from ingestd.digests import Digests, Keys
from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.growing import GrowingSource
from ingestd.pipeline import Keeper, Pipeline
from ingestd.reading import Shared
from ingestd.sources.base import Source
from ingestd.state.base import State
from ingestd.stores.base import Store
from ingestd.telemetry import catalogue, occurrences
from ingestd.telemetry.health import Health

READING_PER_WORKER = 128
"""Objects opened at once per worker: enough that small ones keep it busy. Large ones count as several."""
SHARE_FOR_READING = 0.7
"""Part of a deadline for reading on; what is left is for the commit and the acknowledgements."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A source and the stores that its messages may name."""

    source: Source
    stores: dict[str, Store]
    digest_keys: Keys | None = None
    """With what CloudTrail's digests are verified, where they are to be."""
    follows: bool = False
    """Whether objects that this source is known to follow are looked at beside its messages."""

    async def close(self) -> None:
        """Let go of all of it."""
        await self.source.close()
        if self.digest_keys is not None:
            await self.digest_keys.close()
        for store in self.stores.values():
            await store.close()


Builder = Callable[[str, Root, State], Built]


def configured(name: str, root: Root, state: State) -> Built:
    """The source of this name as the configuration has it. Raises `ConfigError` when it cannot be built."""
    stores = assembly.stores(name, root)
    notified = root.sources[name].payload != "message"
    return Built(
        source=assembly.source(name, root, state),
        stores=stores,
        digest_keys=assembly.digest_keys(name, root),
        follows=notified and any(store.follows for store in stores.values()),
    )


class Fleet:
    """See the module. `all_ended` is set when no source is at work any more, by their own end."""

    def __init__(
        self, shared: Shared, state: State, health: Health, keeper: Keeper, build: Builder = configured
    ) -> None:
        self._build = build
        self._keeper = keeper
        self._shared = shared
        self._state = state
        self._health = health
        self._pipelines: dict[str, Pipeline] = {}
        self._built: dict[str, Built] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failed: set[str] = set()
        """Sources that ended by an error."""
        self.all_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pipelines)

    # --- begin and end --------------------------------------------------------------------------------------

    def build(self, root: Root, names: Iterable[str]) -> dict[str, Built]:
        """Sources with their stores, not yet at work. Raises `ConfigError` when one cannot be built."""
        return {name: self._build(name, root, self._state) for name in names}

    def begin(self, root: Root, built: Mapping[str, Built], *, once: bool = False) -> None:
        """Set sources to work that `build` made."""
        limit = READING_PER_WORKER * assembly.pool_settings(root).workers
        for name, parts in built.items():
            component = self._health.component("source", name)
            component.restart()
            catalogue.expect(source=name)
            self._built[name] = parts
            shared = msgspec.structs.replace(self._shared, stores=parts.stores)
            if parts.digest_keys is not None:
                digests = Digests(name, parts.digest_keys, shared, self._keeper.keep)
                shared = msgspec.structs.replace(shared, verify_digest=digests.verify)
            source = GrowingSource(parts.source, self._shared.ledger) if parts.follows else parts.source
            pipeline = Pipeline(source, root.sources[name], shared, component, reading_limit=limit)
            self._pipelines[name] = pipeline
            self._tasks[name] = asyncio.create_task(self._run(pipeline, once=once), name=f"source {name}")

    async def end(self, names: Iterable[str], deadline_secs: float) -> int:
        """Let sources finish what they began within the deadline; how many messages were given back."""
        ending = {name: self._pipelines.pop(name) for name in names if name in self._pipelines}
        tasks = [self._tasks.pop(name) for name in ending]
        for pipeline in ending.values():
            pipeline.stop()
        now = time.monotonic()
        if tasks:  # what a `receive` under way still brings is given back by `run` itself
            await asyncio.wait(tasks, timeout=SHARE_FOR_READING * deadline_secs)
        read_until, commit_until = now + SHARE_FOR_READING * deadline_secs, now + deadline_secs
        given_back = await asyncio.gather(*(pipeline.drain(read_until, commit_until) for pipeline in ending.values()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name, pipeline in ending.items():
            await msgspec.structs.replace(self._built.pop(name), source=pipeline.source).close()
            self.failed.discard(name)
        return sum(given_back)

    async def end_all(self, deadline_secs: float) -> int:
        """The same for every source; those that failed are remembered."""
        failed = set(self.failed)
        given_back = await self.end(list(self._pipelines), deadline_secs)
        self.failed = failed
        return given_back

    async def _run(self, pipeline: Pipeline, *, once: bool) -> None:
        """One source; its end is no other's."""
        name = pipeline.source.name
        component = self._health.component("source", name)
        try:
            await pipeline.run(once=once)
        except (Permanent, ConfigError) as error:
            self.failed.add(name)
            component.failed(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one source must not stop the others
            self.failed.add(name)
            component.failed(error)
            occurrences.internal_error("receive", error, source=name)
        finally:
            if not pipeline.is_stopping and all(
                task.done() or task is asyncio.current_task() for task in self._tasks.values()
            ):
                self.all_ended.set()

    # --- facts ----------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, dict[str, int]]:
        """For `/status`: what each source holds."""
        return {name: pipeline.facts() for name, pipeline in self._pipelines.items()}

    @property
    def reading(self) -> int:
        """Messages whose objects are being read."""
        return sum(pipeline.reading for pipeline in self._pipelines.values())

    async def show_depths(self) -> None:
        """Set the gauge of waiting messages, for the sources that can say."""
        for name, pipeline in list(self._pipelines.items()):
            try:
                depth = await pipeline.source.depth()
            except Retryable:
                continue  # the receiver meets the same trouble, and tells of it
            if depth is not None:
                catalogue.QUEUE_DEPTH.labels(source=name).set(depth)
