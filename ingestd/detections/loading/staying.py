"""What code of others may not do to the process that imports it: end it, double it, become another program. A command
that ended in the middle with exit code 0 would look like a success."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_CALLS = ("_exit", "abort", "execv", "execve", "fork", "forkpty")


@contextmanager
def in_process() -> Iterator[None]:
    """Make such calls of `os` an error of the module that makes them. Guards against mistakes; it is no sandbox."""
    before = {name: getattr(os, name) for name in _CALLS}
    for name in _CALLS:
        setattr(os, name, _refusing(name))
    try:
        yield
    finally:
        for name, call in before.items():
            setattr(os, name, call)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(f"a module may not call os.{name} while it is imported")

    return refuse
