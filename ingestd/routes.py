"""Which route an object's key takes: the longest prefix that matches; ties go to the later one."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ingestd.model import Route


def route_for(routes: Sequence[Route], key: str) -> Route | None:
    """The route of this key; None when no prefix matches, or the route that does excludes the key."""
    best: Route | None = None
    for route in routes:
        if key.startswith(route.prefix) and (best is None or len(route.prefix) >= len(best.prefix)):
            best = route
    if best is None or any(fnmatchcase(key, pattern) for pattern in best.exclude):
        return None
    return best
