"""What a daemon says of itself in its metrics, and what its processes take of memory, over the time of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.proofs.site import descendants

LOOP_LAG = "ingestd_loop_lag_seconds_bucket"
LATEST_P99_SECS = 0.05
GROWTH = 0.05
"""Share by which memory may differ between an early and a late time, the allocator's habits."""
GROWTH_BYTES = 8 << 20
EARLY, LATE = (0.2, 0.3), (0.9, 1.0)
"""Parts of the run that are compared: of ten minutes, the third and the last."""
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Values:
    """All samples at one moment."""

    samples: dict[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Values:
        """From what the daemon answers."""
        families = text_string_to_metric_families(text)
        return cls(
            {(one.name, frozenset(one.labels.items())): one.value for all_ in families for one in all_.samples}
        )

    def value(self, name: str, **labels: str) -> float:
        """One sample; 0 when there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def messages(self, source: str, outcome: str) -> float:
        """Messages of a source, by what became of them."""
        return self.value("ingestd_messages_total", source=source, outcome=outcome)

    def extensions(self, source: str, outcome: str) -> float:
        """Extensions of its leases."""
        return self.value("ingestd_lease_extensions_total", source=source, outcome=outcome)

    def lags(self) -> dict[float, float]:
        """How often the event loop was no later than so many seconds."""
        return {
            float(dict(labels)["le"]): value for (name, labels), value in self.samples.items() if name == LOOP_LAG
        }


@dataclass
class Strain:
    """How the daemon bore it."""

    times: list[float] = field(default_factory=list)
    """Parts of the run, from 0 to 1; the other lists go with it."""
    seen: list[Values] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    """Resident bytes."""
    children: list[int] = field(default_factory=list)
    ran: list[float] = field(default_factory=list)
    """Seconds that the event loop's thread had a core, up to then."""
    waited: list[float] = field(default_factory=list)
    """Seconds that it was ready to run, and others had the cores."""

    def note(self, at: float, values: Values, daemon: int) -> None:
        """What was seen of a daemon at a time."""
        self.times.append(at)
        self.seen.append(values)
        self.parent.append(_resident([daemon]))
        self.children.append(_resident(descendants(daemon)))
        ran, waited = _scheduled(daemon)
        self.ran.append(ran)
        self.waited.append(waited)

    def lag(self, share: float) -> float:
        """Seconds that the event loop was late at most, in this share of all looks at the clock."""
        first, last = self.seen[0].lags(), self.seen[-1].lags()
        counts = {bound: last[bound] - first[bound] for bound in sorted(last)}
        wanted, below, before = share * max(counts.values()), 0.0, 0.0
        for bound, count in counts.items():
            if count >= wanted:
                return bound if count == before else below + (bound - below) * (wanted - before) / (count - before)
            below, before = bound, count
        return float("inf")

    def complaints(self) -> list[str]:
        """What is not as it should be over ten minutes."""
        found = []
        if (p99 := self.lag(0.99)) >= LATEST_P99_SECS:
            found.append(f"the event loop was {1000 * p99:.0f} ms late at the 99th percentile")
        for who, sizes in (("parent", self.parent), ("children", self.children)):
            early, late = self._mean(sizes, EARLY), self._mean(sizes, LATE)
            if late > early * (1 + GROWTH) + GROWTH_BYTES:
                found.append(f"memory of the {who} grew from {_mb(early)} to {_mb(late)}")
        return found

    def account(self, seconds: float) -> list[str]:
        """The figures of a run of so many seconds, in lines."""
        time = (self.times[-1] - self.times[0]) * seconds
        ran, waited = (100 * (values[-1] - values[0]) / time for values in (self.ran, self.waited))
        lag = ", ".join(f"p{100 * share:g} {1000 * self.lag(share):.1f} ms" for share in (0.5, 0.9, 0.99, 0.999))
        return [
            f"the event loop ran for {ran:.0f} % of the time, and waited for a core for {waited:.0f} %",
            f"loop lag {lag}",
            *(
                f"memory of the {who}: {_mb(self._mean(sizes, EARLY))} early, {_mb(self._mean(sizes, LATE))} late"
                for who, sizes in (("parent", self.parent), ("children", self.children))
            ),
        ]

    def _mean(self, sizes: list[int], part: tuple[float, float]) -> float:
        wanted = [size for at, size in zip(self.times, sizes, strict=True) if part[0] <= at <= part[1]]
        return sum(wanted) / max(1, len(wanted))


def _scheduled(pid: int) -> tuple[float, float]:
    """Seconds that the main thread of a process ran, and that it waited for a core."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def _resident(pids: Iterable[int]) -> int:
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        except OSError:
            continue  # it has just ended
    return pages * os.sysconf("SC_PAGESIZE")


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
