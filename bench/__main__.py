"""`python -m bench`: how much one core does, beside the straightforward way, in one run.

Everything is CPU time of this machine; both sides are measured in turns, so that they share its moods, and each
figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
import uvloop

from bench import naive, parent, real
from bench.generate import RECORDS_PER_OBJECT, gzip_object, plain_object
from bench.rules import write_rules
from ingestd.lake.arrow import arrow_schema
from ingestd.schemas.registry import Registry
from ingestd.workers.generation import heap
from ingestd.workers.settings import PoolSettings


class Stage(msgspec.Struct):
    """One line of the table: the same work on both sides."""

    name: str
    real: Callable[[bytes], object]
    naive: Callable[[bytes], object]
    floor: float
    real_secs: list[float] = []
    naive_secs: list[float] = []
    """CPU seconds per object."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--objects", type=int, default=4, help=f"objects of {RECORDS_PER_OBJECT} events (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--no-pool", action="store_true", help="leave out the parent's cost with 1, 2 and 4 children")
    options = parser.parse_args()
    objects = [gzip_object(seed) for seed in range(options.objects)]
    if os.environ.items() >= heap(PoolSettings().memory_bytes).items():
        _measure_child(objects, options.rounds)
        return
    environ = {**os.environ, **heap(PoolSettings().memory_bytes)}  # what the C library reads when a process starts
    subprocess.run([sys.executable, "-m", "bench", *sys.argv[1:]], env=environ, check=True)
    if not options.no_pool:
        with tempfile.TemporaryDirectory() as folder:
            rules = Path(folder) / "rules"
            write_rules(rules)
            uvloop.run(parent.measure(rules, objects))


def _measure_child(objects: list[bytes], rounds: int) -> None:
    """What a child does, in the environment of one, and what the parent does with its results."""
    plain = sum(len(plain_object(seed)) for seed in range(len(objects))) / len(objects)
    packed = sum(map(len, objects)) / len(objects)
    print(
        f"{len(objects)} gzip objects of {RECORDS_PER_OBJECT:,} CloudTrail-like events,"
        f" {plain / RECORDS_PER_OBJECT:,.0f} bytes each, packed {plain / packed:.1f}:1; 100 rules;"
        f" median of {rounds} rounds, CPU time of one core\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        names = write_rules(rules)
        stages = _stages(rules, names)
        _round_all(stages, objects[:1])
        gc.collect()
        gc.freeze()  # as a zygote does before it forks children
        for stage in stages:
            stage.real_secs.clear()
            stage.naive_secs.clear()
        for _ in range(rounds):
            _round_all(stages, objects)
        _print_stages(stages, plain)
        _print_shares(rules, objects, rounds)


def _stages(rules: Path, names: list[str]) -> list[Stage]:
    schema_file = Path(str(resources.files("ingestd.schemas") / "builtin" / f"{real.LOG_TYPE}.yml"))
    schema = arrow_schema(Registry.load([]).columns(real.LOG_TYPE))
    loaded = naive.Rules(rules, names)
    parse, lake, detect = real.Child(None, with_rows=False), real.Child(None), real.Child(rules)

    def normalised(data: bytes) -> list[naive.Event]:
        return naive.read(data, naive.Normaliser(schema_file, "s3://b/k#e", real.SOURCE, real.ORIGIN))

    def detected(data: bytes) -> object:
        events = normalised(data)
        matches = [match for event in events for match in loaded.matches(event)]
        return matches, naive.to_parquet(events, schema)

    return [
        Stage("parse + normalise", lambda data: parse.read(data, "s3://b/k#e"), normalised, 3.5),
        Stage(
            "  with Parquet",
            lambda data: real.keep(lake.read(data, "s3://b/k#e")),
            lambda data: naive.to_parquet(normalised(data), schema),
            3.0,
        ),
        Stage("  and 100 rules", lambda data: real.keep(detect.read(data, "s3://b/k#e")), detected, 3.0),
    ]


def _round_all(stages: list[Stage], objects: list[bytes]) -> None:
    for stage in stages:
        for data in objects:
            stage.real_secs.append(_cpu(stage.real, data))
        stage.naive_secs.append(_cpu(stage.naive, objects[0]))


def _cpu(work: Callable[[bytes], object], data: bytes) -> float:
    begun = time.process_time()
    work(data)
    return time.process_time() - begun


def _print_stages(stages: list[Stage], plain: float) -> None:
    columns = f"{'MB/s':>7} {'events/s':>9} {'us/event':>9}"
    print(f"{'':18} {columns}  | naive {columns}  |  ratio  floor")
    for stage in stages:
        ours, theirs = statistics.median(stage.real_secs), statistics.median(stage.naive_secs)
        left, right = (
            f"{plain / secs / 1e6:7.1f} {RECORDS_PER_OBJECT / secs:9,.0f} {secs / RECORDS_PER_OBJECT * 1e6:9.1f}"
            for secs in (ours, theirs)
        )
        print(f"{stage.name:18} {left}  |       {right}  | {theirs / ours:5.1f}x {stage.floor:5.1f}x")


def _print_shares(rules: Path, objects: list[bytes], rounds: int) -> None:
    """Where the time goes, by doing more and more of the work."""
    parse, lake, detect = real.Child(None, with_rows=False), real.Child(None), real.Child(rules)
    steps: list[tuple[str, Callable[[bytes], object]]] = [
        ("inflate and cut into records", lambda data: real.frame_only(parse.stages, data)),
        ("decode, classify, normalise", lambda data: real.read_only(parse.stages, data)),
        ("the child's loop", lambda data: parse.read(data, "s3://b/k#e")),
        ("Arrow, and the result's bytes", lambda data: lake.read(data, "s3://b/k#e")),
        ("100 rules, and rows of matches", lambda data: detect.read(data, "s3://b/k#e")),
        ("Parquet, in the parent", lambda data: real.keep(detect.read(data, "s3://b/k#e"))),
    ]
    costs: dict[str, list[float]] = {name: [] for name, _ in steps}
    for _ in range(rounds):  # all steps in each, so that a busy moment of the machine is not one step's
        for name, step in steps:
            costs[name] += [_cpu(step, data) for data in objects]
    print("\nwhere the time goes, us/event")
    before = 0.0
    for name, secs in costs.items():
        now = statistics.median(secs) / RECORDS_PER_OBJECT * 1e6
        print(f"  {name:32} {now - before:6.1f}")
        before = now


if __name__ == "__main__":
    main()
