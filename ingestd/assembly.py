"""From sections of the configuration to parts of the daemon."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.lane import LaneSettings
from ingestd.config import components, convert
from ingestd.config.load import load
from ingestd.config.models import HttpConfig, Root
from ingestd.digests import Keys
from ingestd.lake.query_process import Lake
from ingestd.lake.writer import WriterSettings
from ingestd.refresh.published import Publisher
from ingestd.schemas.registry import Registry
from ingestd.sources.base import Source
from ingestd.state.base import State
from ingestd.stores.base import Store
from ingestd.telemetry import http
from ingestd.workers.settings import CodeSpec, PoolSettings


def load_checked(file: Path) -> Root:
    """The configuration with its log types checked against the schemas. Raises `ConfigError` with every mistake."""
    return load(file, log_types=lambda root: Registry.load(root.schemas.paths, builtin=root.schemas.builtin).names)


def fingerprint(root: Root) -> str:
    """Digest of all that the workers would load: equal as long as neither settings nor files of code changed. Which
    secrets are granted counts as well, because workers keep those that they were given."""
    digest = hashlib.blake2b(msgspec.json.encode(code_spec(root)), digest_size=16)
    digest.update(repr(root.detections.secrets).encode())
    for path in (*root.schemas.paths, *root.detections.paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as opened:  # which may be a large table
                    digest.update(os.fsencode(file) + b"\0" + hashlib.file_digest(opened, "blake2b").digest())
    return digest.hexdigest()


TableFiles = tuple[tuple[str, int, int], ...]
"""Path, size and time of change, in nanoseconds, of files."""


def table_files(root: Root) -> TableFiles:
    """Every file that may hold the data of a lookup table."""
    found = []
    for folder in root.enrichment.paths:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # it is just being replaced
                facts = file.stat()
                if stat.S_ISREG(facts.st_mode):
                    found.append((str(file), facts.st_size, facts.st_mtime_ns))
    return tuple(found)


def pool_settings(root: Root) -> PoolSettings:
    """How many workers, and what each may use."""
    section = root.workers
    return PoolSettings(
        workers=section.count or len(os.sched_getaffinity(0)),
        memory_bytes=section.memory_bytes,
        rule_seconds=section.rule_secs,
        chunk_seconds=section.chunk_secs,
        in_flight_bytes=section.in_flight_bytes,
    )


def code_spec(root: Root) -> CodeSpec:
    """What the workers load. No secret crosses."""
    routes = [route for source in root.sources.values() for route in source.routes]
    return CodeSpec(
        schema_paths=tuple(str(path) for path in root.schemas.paths),
        builtin_schemas=root.schemas.builtin,
        detections=msgspec.to_builtins(msgspec.structs.replace(convert.detection_options(root), provenance=True)),
        limits=msgspec.to_builtins(convert.decode_limits(root)),
        table_folders=tuple(str(path) for path in root.enrichment.paths),
        table_bytes=root.enrichment.max_bytes,
        candidates=tuple(sorted({route.log_types for route in routes if not route.resource_types})),
    )


def publisher(root: Root) -> Publisher | None:
    """What fetches the data of lookup tables; None where nothing is to be fetched, or its source is not at work, as
    in a backfill of another one."""
    enrichment = root.enrichment
    if enrichment.fetch_with is None or enrichment.fetch_with not in root.sources:
        return None
    return Publisher(stores(enrichment.fetch_with, root), enrichment.paths[0], enrichment.max_bytes)


def scheduled_lake(root: Root) -> Lake:
    """What scheduled queries read."""
    return Lake(
        url=str(root.lake.url),
        schema_paths=tuple(str(path) for path in root.schemas.paths),
        builtin_schemas=root.schemas.builtin,
    )


def writer_settings(root: Root) -> WriterSettings:
    """When a batch is due."""
    lake = root.lake
    return WriterSettings(rotate_secs=lake.rotate_secs, rotate_bytes=lake.rotate_bytes, rotate_rows=lake.rotate_rows)


def message_dedup_secs(root: Root) -> float:
    """How long the ledger remembers messages that are events: as long as the most demanding source wants."""
    return max((source.message_dedup_secs for source in root.sources.values()), default=3_600.0)


def source(name: str, root: Root, state: State) -> Source:
    """The source of this name. Its type's file is imported now."""
    config = root.sources[name]
    built: Source = components.load("sources", config.type).build(name, config, state)
    return built


def stores(name: str, root: Root) -> dict[str, Store]:
    """What the messages of this source may name: the stores that its type brings along, with its credentials."""
    settings = _store_settings(name, root)
    return {store: components.load_store(store).build(**arguments) for store, arguments in settings.items()}


def schemes(name: str, root: Root) -> frozenset[str]:
    """The stores that this source can read from: the schemes of their URLs."""
    return frozenset(_store_settings(name, root))


def digest_keys(name: str, root: Root) -> Keys | None:
    """With what this source verifies CloudTrail's digest files; None where it is not to."""
    config = root.sources[name]
    made = getattr(components.load("sources", config.type), "digest_keys", None)
    keys: Keys | None = made(config) if made is not None else None
    return keys


def _store_settings(name: str, root: Root) -> dict[str, dict[str, Any]]:
    config = root.sources[name]
    brought = getattr(components.load("sources", config.type), "stores", None)
    return brought(config) if brought is not None else {}


def destination(name: str, root: Root) -> Destination:
    """The destination of this name. Its type's file is imported now."""
    config = root.destinations[name]
    built: Destination = components.load("destinations", config.type).build(name, config)
    return built


def lane_settings(name: str, root: Root) -> LaneSettings:
    """How the destination of this name is sent to."""
    config = root.destinations[name]
    return LaneSettings(
        concurrency=config.concurrency,
        per_minute=config.per_minute,
        timeout_secs=config.timeout_secs,
        retry_secs=config.retry_secs,
    )


def admin_settings(section: HttpConfig) -> http.Settings | None:
    """Where the admin port listens; None when it is off."""
    if section.listen == "off":
        return None
    host, _, port = section.listen.rpartition(":")
    return http.Settings(
        host=host.strip("[]"),
        port=int(port),
        token=section.token.resolve if section.token else None,
        certificate=str(section.tls.certificate) if section.tls else None,
        key=str(section.tls.key) if section.tls else None,
        admin=section.admin,
        debug=section.debug,
    )
