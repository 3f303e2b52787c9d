"""What a run took, and how the benches of the clouds print it: in one form, so that they can be set side by side."""

from __future__ import annotations

import os
import resource

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one run took."""

    seconds: float
    cpu: float
    """Seconds of CPU time of everything that the client runs."""


def children_cpu() -> float:
    """CPU seconds of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_load() -> None:
    """How busy the machine is with other things: rates suffer from it, and CPU time a little."""
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def print_header(what: str, count: int, size: int) -> None:
    """The head of a table about so many things of so many bytes each."""
    print(f"\n{count:,} {what} of {size:,} bytes")
    print(f"  {'':24} {f'{what}/s':>10} {'per core':>10} {'MB/s':>8} {'us CPU':>8} {'CPU s/GB':>9}")


def print_figures(name: str, taken: Figures, count: int, size: int) -> None:
    """One line of the table."""
    rate = count / taken.seconds
    print(
        f"  {name:24} {_of_size(rate):>10} {_of_size(count / taken.cpu):>10} {rate * size / 1e6:8.1f}"
        f" {taken.cpu / count * 1e6:8,.0f} {taken.cpu / (count * size / 1e9):9.1f}",
        flush=True,
    )


def print_limit(rate: float, size: int) -> None:
    """What the server gives to a client that does nothing with it."""
    print(f"  {'the server can give':24} {_of_size(rate):>10} {'':10} {rate * size / 1e6:8.1f}")


def _of_size(rate: float) -> str:
    return f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
