"""`python -m bench.detections FOLDER…`: what the rules of a corpus cost per event, with routing and without.

From a decoded dict to finished matches, with title, dedup, severity and context, the children's timer running. CPU
time of one core; all sides are measured in turns on the same events, and their matches and errors must be the same.
The column before the last is what the rules' own code costs if one knew beforehand which have something to say.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench import corpus, generate, real
from ingestd.detections import DetectionSet, Engine, Watch, kv
from ingestd.detections.engine import Routing
from ingestd.detections.event import PantherEvent
from ingestd.model import Match
from ingestd.workers.board import Board
from ingestd.workers.limits import RuleClock

BATCH = 100
"""Events that are alive at once: decoded before the clock starts."""
RULE_SECONDS = 5.0
QUIET_RULES = 300

Evaluate = Callable[[dict[str, Any]], list[Match]]


class Figures(msgspec.Struct):
    """What came of one log type."""

    name: str
    rules: int
    events: int
    matching: float
    """Share of the events that match something."""
    same: bool
    """Whether matches and errors are those of running every rule."""
    routed: float
    plain: float
    floor: float
    """Events per second."""

    def show(self) -> str:
        """One line of the table."""
        ratio = f"{self.routed / self.plain:5.1f}x"
        same = "same" if self.same else "DIFFERENT"
        return (
            f"{self.name:28} {self.rules:5} {self.matching:9.0%} {self.routed:10,.0f} {self.plain:11,.0f} {ratio:>7}"
            f" {self.floor:11,.0f}   {same}"
        )


HEADER = (
    f"{'':28} {'rules':>5} {'matching':>9} {'events/s':>10} {'no routing':>11} {'ratio':>7} {'rules alone':>11}"
    "   matches"
)


def main() -> None:
    """Measure and print; the exit status is 1 if routing changed a match."""
    parser = argparse.ArgumentParser(prog="python -m bench.detections", description=__doc__)
    parser.add_argument("folders", nargs="+", help="folders of detections, helpers and data models")
    parser.add_argument("--log-types", type=int, default=8, help="the log types with most rules (%(default)s)")
    parser.add_argument("--events", type=int, default=4_000, help="events per log type (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--only", help="this log type alone, or `quiet`")
    options = parser.parse_args()
    detections = corpus.load(tuple(options.folders))
    print(f"CPU time of one core, median of {options.rounds} rounds of {options.events:,} events\n\n{HEADER}")
    same = True
    for log_type in corpus.busiest_log_types(detections, options.log_types):
        if options.only not in {None, log_type}:
            continue
        found = corpus.samples(detections, log_type)
        events = corpus.events_like(found, log_type, options.events)
        figures = _measure(log_type, detections, log_type, events, options.rounds)
        print(figures.show(), flush=True)
        same &= figures.same
    if options.only in {None, "quiet"}:
        figures = _quiet(detections, options)
        print(figures.show())
        same &= figures.same
    sys.exit(not same)


def _quiet(detections: DetectionSet, options: argparse.Namespace) -> Figures:
    """Traffic of which few events match, against three hundred CloudTrail rules."""
    with tempfile.TemporaryDirectory() as name:
        corpus.write_copies(detections, real.LOG_TYPE, QUIET_RULES, Path(name) / "copies")
        many = corpus.load((*options.folders, name))
        data = generate.gzip_object(1, options.events, generate.QuietTraffic)
        events = [orjson.dumps(event) for event in real.normalised(real.Child(None).stages, data)]
        return _measure("quiet AWS.CloudTrail", many, real.LOG_TYPE, events, options.rounds)


def _measure(name: str, detections: DetectionSet, log_type: str, events: list[bytes], rounds: int) -> Figures:
    watch = Watch()
    clock = RuleClock(watch, Board.create(), RULE_SECONDS, 5 * RULE_SECONDS)
    routed, plain = (_engine(detections, watch, routing) for routing in ("on", "off"))
    clock.start()
    # These runs warm up, too.
    expected = _matches(plain, events, log_type)
    same = _matches(routed, events, log_type) == expected
    gc.collect()
    gc.freeze()  # as a zygote does
    sides = (_evaluating(routed, log_type), _evaluating(plain, log_type), _only(plain, log_type, expected))
    seconds: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for side, spent in zip(sides, seconds, strict=True):
            kv.connect(kv.MemoryStore())
            spent.append(_cpu(side, events))
    clock.stop()
    return Figures(
        name=name,
        rules=len(detections.for_log_type(log_type)),
        events=len(events),
        matching=sum(map(bool, expected)) / len(events),
        same=same,
        routed=len(events) / statistics.median(seconds[0]),
        plain=len(events) / statistics.median(seconds[1]),
        floor=len(events) / statistics.median(seconds[2]),
    )


def _engine(detections: DetectionSet, watch: Watch, routing: Routing) -> Engine:
    return Engine(detections, watch, routing=routing)


def _evaluating(engine: Engine, log_type: str) -> Evaluate:
    return lambda event: engine.evaluate(event, log_type)


def _matches(engine: Engine, events: list[bytes], log_type: str) -> list[list[Match]]:
    kv.connect(kv.MemoryStore())
    return [engine.evaluate(orjson.loads(event), log_type) for event in events]


def _only(engine: Engine, log_type: str, expected: list[list[Match]]) -> Evaluate:
    """Runs nothing but the rules that have something to say."""
    runnables = engine.detections.runnables
    chosen = {
        match.row_id: [runnables[match.detection_id] for match in matches]
        for matches in expected
        for match in matches
    }
    model = engine.detections.data_models.get(log_type)

    def evaluate(event: dict[str, Any]) -> list[Match]:
        return engine._evaluate(
            chosen.get(event["p_row_id"], ()), PantherEvent(event, model), event, log_type, _NOBODY
        )

    return evaluate


_NOBODY: frozenset[str] = frozenset()


def _cpu(evaluate: Evaluate, events: Sequence[bytes]) -> float:
    total = 0.0
    for first in range(0, len(events), BATCH):
        batch = [orjson.loads(event) for event in events[first : first + BATCH]]
        begun = time.process_time()
        for event in batch:
            evaluate(event)
        total += time.process_time() - begun
    return total


if __name__ == "__main__":
    main()
