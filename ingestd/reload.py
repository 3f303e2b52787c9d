"""A new configuration in place of the old one, while everything runs.

Everything new is built beside the old; only when all of it stands is it put in place. On any mistake the old stays
and the answer says why. Calls that arrive while one reload runs share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ingestd.config.models import Root
from ingestd.errors import Problem

FIXED = ("state", "http", "workers", "limits")
"""Sections that take effect at a restart only: what they describe cannot be replaced under running work."""
FIXED_LAKE = ("type", "url")


class Coalesced:
    """Runs `work` once at a time. A call during a run waits for the next run, together with all others."""

    def __init__(self, work: Callable[[], Awaitable[list[str]]]) -> None:
        self._work = work
        self._running: asyncio.Task[list[str]] | None = None
        self._next: asyncio.Task[list[str]] | None = None
        self._refusal = ""

    async def __call__(self) -> list[str]:
        """Problems of a run that began after the call; empty when it was applied."""
        if self._refusal:
            return [self._refusal]
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)

    async def close(self, refusal: str) -> None:
        """Answer every further call with this; what is under way is broken off."""
        self._refusal = refusal
        under_way = [task for task in (self._running, self._next) if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _after(self, running: asyncio.Task[list[str]] | None) -> list[str]:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return await self._work()


def needs_restart(old: Root, new: Root) -> list[Problem]:
    """What the new configuration changes that a running daemon cannot."""
    problems = [
        Problem("this section changed; it takes effect at a restart only", path=name)
        for name in FIXED
        if getattr(old, name) != getattr(new, name)
    ]
    problems += [
        Problem("this changed; it takes effect at a restart only", path=f"lake.{name}")
        for name in FIXED_LAKE
        if getattr(old.lake, name) != getattr(new.lake, name)
    ]
    return problems


def changed(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[set[str], set[str]]:
    """Names to end (gone, or changed) and names to begin (new, or changed)."""
    differs = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    return (old.keys() - new.keys()) | differs, (new.keys() - old.keys()) | differs
