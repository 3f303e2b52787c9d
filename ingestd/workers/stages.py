"""The real rooms, put together for a zygote: `build` is what it calls first."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ingestd.decode import Limits, ObjectDecoder
from ingestd.detections import DetectionSet, Engine, Options, Watch, kv, lookups, secrets
from ingestd.enrichment.tables import Tables, TableSpec
from ingestd.errors import ConfigError, Problem, Retryable
from ingestd.lake.batch import BatchBuilder
from ingestd.model import Column, Match, ObjectTask
from ingestd.schemas import resources
from ingestd.schemas.registry import Registry
from ingestd.schemas.resources import ResourceSession
from ingestd.schemas.results import ResultSession
from ingestd.schemas.session import Session, SessionInfo
from ingestd.workers import contracts
from ingestd.workers.contracts import Ask, Event, Stages
from ingestd.workers.filters import FilteredSession, compiled
from ingestd.workers.settings import CodeSpec

T = TypeVar("T")


def build(spec: CodeSpec) -> Stages:
    """Load schemas and detections. Raises ConfigError with the problems of both."""
    started = time.monotonic()
    problems: list[Problem] = []
    registry = _load(lambda: _registry(spec), problems)
    detections = _load(lambda: DetectionSet.load(msgspec.convert(spec.detections, Options)), problems)
    if registry is None or detections is None:
        raise ConfigError(problems)
    limits = msgspec.convert(spec.limits, Limits)
    watch = Watch()
    engine = Engine(detections, watch)
    tables = _tables(spec, detections, registry)
    lookups.connect(tables.lookup)

    def decoder(task: ObjectTask) -> ObjectDecoder:
        return ObjectDecoder(task.route.framing, limits, first_ordinal=task.first_ordinal, offset=task.offset)

    def session(task: ObjectTask) -> contracts.Session:
        plain, filters = plain_session(task), task.route.filters
        return FilteredSession(plain, compiled(filters)) if filters.raw or filters.events else plain

    def plain_session(task: ObjectTask) -> Session | ResourceSession | ResultSession:
        info = SessionInfo(
            identity=task.identity,
            source_id=task.source,
            source_label=task.label or task.source,
            origin=task.origin,
            keep_unknown=spec.keep_unknown if task.route.keep_unknown is None else task.route.keep_unknown,
        )
        if task.route.resource_types:
            return ResourceSession(task.route.resource_types, info, task.modified)
        if task.route.results:
            return ResultSession(info)
        return registry.classifier(task.route.log_types).session(info)

    def rules_of(log_type: str) -> list[str]:
        if log_type == resources.LOG_TYPE:
            return detections.policies
        if log_type in detections.queries:
            return [runnable.id for runnable in detections.for_query(log_type)]
        return [runnable.id for runnable in detections.for_log_type(log_type)]

    return Stages(
        decoder=decoder,
        session=session,
        engine=engine,
        watch=watch,
        builder=lambda: BatchBuilder(partial(_columns, registry)),
        rules_of=rules_of,
        failed=lambda rule, event, kind, detail: _failed(detections, rule, event, kind, detail),
        take_drift=registry.take_drift,
        enrich=tables.enrich if len(tables) else None,
        connect=_connect,
        reject_payload_bytes=spec.reject_payload_bytes,
        description={
            "detections": len(detections.runnables),
            "log_types": len(registry.names),
            "lookup_tables": len(tables),
            **({"lookup_tables_left_out": tables.why_left_out()} if tables.left_out else {}),
            "version": detections.version,
            "seconds": time.monotonic() - started,
        },
        detections=detections.loaded(),
        timetable=detections.timetable(),
    )


def _registry(spec: CodeSpec) -> Registry:
    registry = Registry.load([Path(path) for path in spec.schema_paths], builtin=spec.builtin_schemas)
    for log_types in spec.candidates:
        classifier = registry.classifier(log_types)
        classifier.warm()
        for name in classifier.names:
            registry.columns(name)
    return registry


def _tables(spec: CodeSpec, detections: DetectionSet, registry: Registry) -> Tables:
    specs = [
        TableSpec(**{name: getattr(table, name) for name in TableSpec.__struct_fields__})
        for table in detections.lookup_tables.values()
    ]
    folders = [Path(folder) for folder in spec.table_folders]
    return Tables.load(specs, folders, spec.table_bytes, partial(_kinds, registry))


def _kinds(registry: Registry, schema: str) -> dict[str, str]:
    """Field → kind, of a schema that describes a table's rows; nothing of one that is not known."""
    if schema not in registry.names:
        return {}
    return {field.name: field.value.kind for field in registry.schema(schema).fields}


def _columns(registry: Registry, log_type: str) -> tuple[Column, ...]:
    return resources.COLUMNS if log_type == resources.LOG_TYPE else registry.columns(log_type)


def _load(load: Callable[[], T], problems: list[Problem]) -> T | None:
    try:
        return load()
    except ConfigError as error:
        problems += error.problems
        return None


def _failed(detections: DetectionSet, rule: str, event: Event, kind: str, detail: str) -> Match:
    runnable = detections.runnables[rule]
    log_type = event["resource_type"] if runnable.detection.kind == "policy" else event["p_log_type"]
    return runnable.plain_error(event, log_type, dedup=kind, title=f"{rule}: {kind}", text=detail)


def _connect(ask: Ask | None) -> None:
    """Have the rules' key-value store answered by `ask("kv", request)`, their secrets by `ask("secret", name)`."""
    if ask is None:
        kv.connect(None)
        secrets.connect(None)
        return

    def store(request: kv.Request) -> kv.Item:
        answer: Any = ask("kv", msgspec.to_builtins(request))
        return msgspec.convert(answer, kv.Item)

    def secret(name: str) -> secrets.Answer:
        try:
            answer: Any = ask("secret", name)
        except Retryable as error:
            return secrets.Answer(refused="unavailable", message=f"secret {name!r}: {error}")
        return msgspec.convert(answer, secrets.Answer)

    kv.connect(store)
    secrets.connect(secret)
