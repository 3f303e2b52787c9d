"""Whether routing leaves out only rules that have nothing to say: everything is run, and what routing would have
chosen is compared, on the samples of the tests and on events made from them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from random import Random
from typing import Any, NoReturn

import msgspec

from ingestd.detections import kv
from ingestd.detections.engine import Engine
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.testing import forked
from ingestd.detections.testing.case import time_limit
from ingestd.detections.testing.mutations import Json, is_small, mutate
from ingestd.detections.watch import Watch
from ingestd.errors import RuleTimeout

CHUNK = 500
"""Events that a child is asked about at once."""
MOST_SHOWN = 100
LIMIT_SECS = 5.0
"""Of all rules on one event."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that routing would have left out though it had something to say."""

    detection_id: str
    log_type: str
    kind: str
    """`rule` for a match, `error` for one that failed."""
    event: Any = None


class Verification(msgspec.Struct, kw_only=True):
    """What a comparison found."""

    log_types: int = 0
    rules: int = 0
    events: int = 0
    matches: int = 0
    errors: int = 0
    differences: list[Difference] = []
    broken_off: list[str] = []
    """What could not be compared to its end, and why."""

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.events > 0 and not self.differences and not self.broken_off

    def add(self, other: Verification) -> None:
        """Take in what was found about other events."""
        self.events += other.events
        self.matches += other.matches
        self.errors += other.errors
        self.differences = [*self.differences, *other.differences][:MOST_SHOWN]
        self.broken_off += other.broken_off


def verify(detections: DetectionSet, *, mutations: int, jobs: int, seed: int = 0) -> Verification:
    """Compare for every log type of the set's rules, enabled or not: all samples, and `mutations` events made of
    them. The same seed makes the same events."""
    for runnable in detections.runnables.values():
        runnable.detection = msgspec.structs.replace(runnable.detection, enabled=True)
    samples = _samples(detections)
    engine = Engine(detections, Watch(), routing="verify")
    names = [
        f"{start}:{log_type}"
        for log_type, events in samples.items()
        for start in range(0, len(events) + mutations, CHUNK)
    ]

    def work(name: str) -> bytes:
        start, _, log_type = name.partition(":")
        events = _events(samples[log_type], int(start), len(samples[log_type]) + mutations, f"{seed}:{name}")
        return msgspec.msgpack.encode(_compare(engine, log_type, events))

    def lost(name: str, how: str) -> bytes:
        return msgspec.msgpack.encode(Verification(broken_off=[f"events from {name} on: a rule {how}"]))

    found = Verification(log_types=len(samples), rules=len({one for name in samples for one in _ids(engine, name)}))
    for answer in forked.run(names, work, lost, jobs=jobs, share=2):
        found.add(msgspec.msgpack.decode(answer, type=Verification))
    return found


def _ids(engine: Engine, log_type: str) -> Iterator[str]:
    for runnable in engine.detections.for_log_type(log_type):
        yield runnable.id


def _samples(detections: DetectionSet) -> dict[str, list[Json]]:
    """The samples of all rules' tests by log type: that of the sample, else all that its rule looks at."""
    found: dict[str, list[Json]] = {}
    for detection in detections.detections.values():
        if detection.kind != "rule":
            continue
        for test in detection.tests:
            sample = test.get("Log") if isinstance(test, dict) else None
            if isinstance(sample, dict) and is_small(sample):
                own = sample.get("p_log_type")
                for log_type in [own] if own in detection.log_types else detection.log_types:
                    found.setdefault(str(log_type), []).append(sample)
    return found


def _events(samples: list[Json], start: int, end: int, seed: str) -> Iterator[Json]:
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    for number in range(start, min(start + CHUNK, end)):
        yield samples[number] if number < len(samples) else mutate(random.choice(samples), samples, random)


def _compare(engine: Engine, log_type: str, events: Iterator[Json]) -> Verification:
    found = Verification()
    _stay_offline()
    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)  # what rules print about such events helps nobody
    for event in events:
        kv.connect(kv.MemoryStore())
        engine.missed.clear()
        try:
            with time_limit(LIMIT_SECS):
                matches = engine.evaluate(event, log_type)
        except RuleTimeout:
            matches = []  # in the engine, just after a rule that took all the time
        for name in engine.take_timeouts():
            engine.suspended.add(name)
            found.broken_off.append(f"{name} took longer than {LIMIT_SECS:g} s on an event of {log_type}")
        found.events += 1
        failed = sum(match.kind == "error" for match in matches)
        found.errors += failed
        found.matches += len(matches) - failed
        for missed in engine.missed:
            one = Difference(detection_id=missed.detection_id, log_type=log_type, kind=missed.kind, event=event)
            found.differences.append(one)
    found.differences = found.differences[:MOST_SHOWN]
    return found


def _stay_offline() -> None:
    """In a child that evaluates made-up events: a rule that would ask a service gets an error at once."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no network while events are made up")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse
