"""Where events are not as their schemas say: what the daemon has seen of it, for `/status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ingestd.model import Drift

MOST_PATHS: Final = 200
"""Per log type and kind. What comes later is counted in the metric only."""
MOST_SHOWN: Final = 20


class _Path:
    __slots__ = ("first", "last", "records")

    def __init__(self, first: float) -> None:
        self.records = 0
        self.first = self.last = first


class DriftSeen:
    """Per log type and kind of drift: path → records, since the daemon's start. Bounded."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], dict[str, _Path]] = {}

    def note(self, drift: Drift) -> bool:
        """Count it; whether this path is new."""
        now = self._clock()
        paths = self._seen.setdefault((drift.log_type, drift.kind), {})
        path = paths.get(drift.path)
        is_new = path is None and len(paths) < MOST_PATHS
        if is_new:
            path = paths[drift.path] = _Path(now)
        if path is not None:
            path.records += drift.records
            path.last = now
        return is_new

    def as_json(self) -> dict[str, Any]:
        """Log type → kind → the paths of most records."""
        shown: dict[str, Any] = {}
        for (log_type, kind), paths in sorted(self._seen.items()):
            most = sorted(paths.items(), key=lambda item: (-item[1].records, item[0]))[:MOST_SHOWN]
            shown.setdefault(log_type, {})[kind] = {
                "paths": len(paths),
                "most": {
                    name: {"records": path.records, "first_at": path.first, "last_at": path.last}
                    for name, path in most
                },
            }
        return shown


SEEN = DriftSeen()
"""Of this daemon; like the metrics, there is one per process."""
