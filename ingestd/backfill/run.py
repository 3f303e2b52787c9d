"""A backfill is a daemon with one source, whose queue is a listing.

Source, credentials, routes and everything behind them are those of the configuration; ledger, lake and alert state
are shared with a daemon that may be running on the same host.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingestd import assembly, daemon
from ingestd.backfill.again import Again
from ingestd.backfill.inventory import InventoryListing
from ingestd.backfill.listing import Listing, PrefixListing
from ingestd.backfill.plan import Plan
from ingestd.backfill.source import ListingSource
from ingestd.backfill.tally import Tally
from ingestd.config.models import DetectionsConfig, HttpConfig, Root
from ingestd.errors import ConfigError, Problem
from ingestd.fleet import Built
from ingestd.state.base import State
from ingestd.stores.base import Store


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill as it was asked for."""

    plan: Plan
    source: str
    objects_per_sec: float | None = None
    bytes_per_sec: float | None = None
    detect: bool = True
    quiet: bool = False
    """Log warnings only: somebody is watching a progress bar."""

    @property
    def listing_id(self) -> str:
        """What was asked for: the same again goes on where it was broken off. Not so `30d`, which is another moment
        with each start: what it did not ask for before may lie before the position."""
        plan = self.plan
        inventory = plan.inventory.url if plan.inventory is not None else ""
        asked = [self.source, plan.place.url, plan.since, plan.until, plan.layout, inventory, plan.again]
        return " ".join(str(part or "") for part in asked)


def run(file: Path, order: Order, tally: Tally) -> int:
    """Read everything that the order lists, then stop; the exit code. `tally` is kept up to date meanwhile.

    Raises what `daemon.run` raises."""

    def load(file: Path) -> Root:
        return narrowed(assembly.load_checked(file), order)

    def build(name: str, root: Root, state: State) -> Built:
        stores = assembly.stores(name, root)
        if order.plan.again:
            stores = {scheme: Again(store, order.plan.again) for scheme, store in stores.items()}
        store = stores[order.plan.place.scheme]
        source = ListingSource(
            name,
            listing_of(store, order.plan),
            state,
            listing_id=order.listing_id,
            identify=store.listed_identity,
            tally=tally,
            objects_per_sec=order.objects_per_sec,
            bytes_per_sec=order.bytes_per_sec,
        )
        # what grows is followed by daemons only: here it would be read without detections, or under --again
        return Built(source=source, stores=stores, digest_keys=assembly.digest_keys(name, root))

    return daemon.run(file, once=True, load=load, build=build, scheduled=False)


async def count(file: Path, order: Order, tally: Tally) -> None:
    """Only list, and count what would be read. Raises `Retryable` or `Permanent`."""
    root = narrowed(assembly.load_checked(file), order)
    stores = assembly.stores(order.source, root)
    try:
        async for entry in listing_of(stores[order.plan.place.scheme], order.plan).walk():
            tally.total_objects += 1
            tally.total_bytes += entry.ref.size or 0
        tally.is_counted = True
    finally:
        for store in stores.values():
            await store.close()


def listing_of(store: Store, plan: Plan) -> Listing:
    """The listing that a plan asks for."""
    return InventoryListing(store, plan) if plan.inventory is not None else PrefixListing(store, plan)


def choose_source(root: Root, scheme: str, wanted: str) -> str:
    """Name of the source as which the objects are read. Raises `ConfigError` when that is none, or not clear."""
    able = [name for name in root.sources if scheme in assembly.schemes(name, root)]
    if wanted:
        if wanted in able:
            return wanted
        known = f"those that do: {', '.join(able)}" if able else "none of the configuration does"
        raise ConfigError([Problem(f"the source {wanted!r} reads no {scheme}:// objects", hint=known)])
    if len(able) == 1:
        return able[0]
    if not able:
        text = f"no source of the configuration reads {scheme}:// objects"
        raise ConfigError([Problem(text, hint="its credentials and routes are needed; configure one")])
    raise ConfigError([Problem(f"several sources read {scheme}:// objects", hint=f"--source {'|'.join(able)}")])


def narrowed(root: Root, order: Order) -> Root:
    """The configuration with that one source, without an admin port: a daemon may be listening there."""
    # a source whose messages are events themselves reads objects here, as a listing has nothing else
    source = root.sources[order.source].model_copy(update={"payload": "notification"})
    changes: dict[str, object] = {
        "sources": {order.source: source},
        "http": HttpConfig(listen="off"),
    }
    if not order.detect:
        changes["detections"] = DetectionsConfig()
    if order.quiet and root.logging.level in ("debug", "info"):
        changes["logging"] = root.logging.model_copy(update={"level": "warning"})
    return root.model_copy(update=changes)
