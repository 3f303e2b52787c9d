"""What no single field can know: whether the parts of a configuration fit together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from ingestd.config.document import KeyPath
from ingestd.config.models import FiltersConfig, Root, SourceConfig

Finding = tuple[KeyPath, str, str]
"""Path, what is wrong, what to do."""


def findings(
    root: Root, written: dict[str, Any], log_types: Callable[[Root], Collection[str]] | None = None
) -> Iterator[Finding]:
    """All contradictions in the valid part of a configuration. `written` tells what else was meant to be there."""
    if not written.get("sources"):
        yield ("sources",), "no source is configured, so there is nothing to read", "add one under `sources`"
    for name, source in root.sources.items():
        yield from _routes(name, source)
    yield from _same_address(root)
    yield from _paths(root)
    yield from _detections(root, written)
    yield from _fetching(root)
    yield from _http(root)
    if log_types is not None:
        yield from _log_types(root, log_types(root))


def _routes(name: str, source: SourceConfig) -> Iterator[Finding]:
    last = {route.prefix: index for index, route in enumerate(source.routes)}
    for index, route in enumerate(source.routes):
        path: KeyPath = ("sources", name, "routes", index)
        if last[route.prefix] != index:
            other = last[route.prefix]
            hint = "give one route all the log types, or the two different prefixes"
            yield path, f"never used: route {other} has the same prefix {route.prefix!r} and comes later", hint
        if route.log_types and route.resource_types:
            yield path, "a route has either log_types or resource_types", ""


def _same_address(root: Root) -> Iterator[Finding]:
    seen: dict[tuple[type, str], str] = {}
    shared = set(SourceConfig.model_fields)
    for name, source in root.sources.items():
        own = source.model_dump_json(exclude=shared)
        if own == "{}":
            continue
        before = seen.setdefault((type(source), own), name)
        if before != name:
            yield ("sources", name), f"reads the same as the source {before!r}", "put the routes into one of them"


def _fetching(root: Root) -> Iterator[Finding]:
    enrichment, at = root.enrichment, ("enrichment", "fetch_with")
    if enrichment.fetch_with is None:
        return
    if enrichment.fetch_with not in root.sources:
        yield at, f"no source is named {enrichment.fetch_with!r}", _meant(enrichment.fetch_with, list(root.sources))
    if not enrichment.paths:
        yield at, "there is no folder to fetch tables into", "give enrichment.paths"


def _paths(root: Root) -> Iterator[Finding]:
    for section, paths in (
        ("schemas", root.schemas.paths),
        ("detections", root.detections.paths),
        ("enrichment", root.enrichment.paths),
    ):
        for index, path in enumerate(paths):
            if not path.exists():
                yield (
                    (section, "paths", index),
                    f"{path} does not exist",
                    "relative paths start at the root file's folder",
                )


def _detections(root: Root, written: dict[str, Any]) -> Iterator[Finding]:
    for index, detection in enumerate(root.detections.enable):
        if detection in root.detections.disable:
            yield ("detections", "enable", index), f"{detection} is also in `disable`", ""
    destinations = written.get("destinations") or {}
    for detection, override in root.detections.overrides.items():
        for index, name in enumerate(override.destinations or ()):
            if name not in destinations:
                path: KeyPath = ("detections", "overrides", detection, "destinations", index)
                yield path, f"no destination is named {name!r}", _meant(name, list(destinations))


def _http(root: Root) -> Iterator[Finding]:
    address = root.http.address
    if address is None or not root.http.admin or root.http.token is not None:
        return
    if not _is_loopback(address[0]):
        yield (
            ("http", "admin"),
            "beyond loopback the admin calls need a token",
            "set http.token, or listen on 127.0.0.1",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_types(root: Root, known: Collection[str]) -> Iterator[Finding]:
    for name, source in root.sources.items():
        for index, route in enumerate(source.routes):
            at: KeyPath = ("sources", name, "routes", index)
            yield from _unknown(route.log_types, known, (*at, "log_types"))
            yield from _filtered(route.filters, known, (*at, "filters", "events"))
        yield from _filtered(source.filters, known, ("sources", name, "filters", "events"))
    routes = [route for source in root.sources.values() for route in source.routes]
    known = {*known, *(name for route in routes for name in route.resource_types)}  # alerts of policies carry these
    for name, destination in root.destinations.items():
        yield from _unknown(destination.log_types, known, ("destinations", name, "log_types"))


def _filtered(filters: FiltersConfig, known: Collection[str], path: KeyPath) -> Iterator[Finding]:
    for index, one in enumerate(filters.events):
        yield from _unknown(one.log_types, known, (*path, index, "log_types"))


def _unknown(names: Sequence[str], known: Collection[str], path: KeyPath) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name not in known:
            hint = _meant(name, list(known)) or "`ingestd parse` lists the known ones"
            yield (*path, index), f"no log type is named {name!r}", hint


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
