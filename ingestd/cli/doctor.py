"""`ingestd doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.config.models import Root
    from ingestd.model import Check

CHECK_SECS = 60.0
"""Longest time for the checks of one part."""
COLUMNS = ("part", "ok", "check", "missing_permission", "detail")

Urls = Annotated[
    list[str] | None,
    typer.Argument(
        envvar="INGESTD_DOCTOR_URLS",
        help="What sources are to read, e.g. s3://bucket/prefix: each source that could is tried on it.",
    ),
]


def command(urls: Urls = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """Try every permission, and name the one that is missing.

    Each source, destination and secret of detections in the configuration is tried. Nothing is received, read to its
    end, written or sent.
    The exit code is 1 when any check failed.
    """
    import asyncio

    from ingestd.config.load import load

    found = asyncio.run(_examine(load(config_file(config)), urls or []))
    rows = [(part, check.ok, check.what, check.missing_permission, check.detail) for part, check in found]
    output.print_rows(COLUMNS, rows, as_json=as_json, whole=("check", "missing_permission"))
    raise typer.Exit(0 if all(check.ok for _, check in found) else 1)


async def _examine(root: Root, urls: list[str]) -> list[tuple[str, Check]]:
    """Part of the configuration and check, in the order of the configuration."""
    import asyncio

    parts = [_source(root, name, urls) for name in root.sources]
    parts += [_destination(root, name) for name in root.destinations]
    parts += [_rule_secret(root, name) for name in root.detections.secrets.values]
    return [row for rows in await asyncio.gather(*parts) for row in rows]


async def _source(root: Root, name: str, urls: list[str]) -> list[tuple[str, Check]]:
    from ingestd import assembly
    from ingestd.state.memory import MemoryState

    state = MemoryState()
    source = assembly.source(name, root, state)
    stores = assembly.stores(name, root)
    checks = await _tried(name, source.check)
    for url in urls:
        scheme, _, rest = url.partition("://")
        if scheme in stores:
            bucket, _, prefix = rest.partition("/")
            store = stores[scheme]
            checks += await _tried(f"{name}: {url}", lambda: store.check(bucket, prefix))  # noqa: B023 - awaited here
    for store in stores.values():
        await store.close()
    await source.close()
    await state.close()
    return [(f"source {name}", check) for check in checks]


async def _destination(root: Root, name: str) -> list[tuple[str, Check]]:
    from ingestd import assembly

    destination = assembly.destination(name, root)
    checks = await _tried(name, destination.check)
    await destination.close()
    return [(f"destination {name}", check) for check in checks]


async def _rule_secret(root: Root, name: str) -> list[tuple[str, Check]]:
    import asyncio

    from ingestd.model import Check

    secret = root.detections.secrets.values[name]
    what = f"read {secret}"

    async def check() -> list[Check]:
        await asyncio.to_thread(secret.resolve)
        return [Check(what=what, ok=True)]

    return [(f"secret {name}", found) for found in await _tried(what, check)]


async def _tried(what: str, check: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """The checks; a failed one when they could not be made."""
    import asyncio

    from ingestd.errors import IngestdError
    from ingestd.model import Check

    try:
        async with asyncio.timeout(CHECK_SECS):
            return await check()
    except IngestdError as error:
        return [Check(what=what, ok=False, detail=str(error))]
    except TimeoutError:
        return [Check(what=what, ok=False, detail=f"no answer in {CHECK_SECS:.0f} s")]
