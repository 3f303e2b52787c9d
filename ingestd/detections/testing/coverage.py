"""Which lines of detections' Python files their tests run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import coverage


class NoCoverage(RuntimeError):
    """What measures coverage is not installed."""


class FileCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """One Python file: how many lines could run, and which did not."""

    file: str
    lines: int
    missing: list[int]

    @property
    def percent(self) -> float:
        """Lines that ran, of 100."""
        return 100.0 * (self.lines - len(self.missing)) / self.lines if self.lines else 100.0


class Coverage:
    """Notes lines while it is entered: of modules while they are loaded, of functions while tests run. May be entered
    again and again, and in forked children, each of which keeps its own notes."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Raises NoCoverage if the library is not there. Only files below `paths` are looked at."""
        try:
            import coverage as library
        except ImportError:
            raise NoCoverage("measuring coverage needs: pip install 'ingestd[coverage]'") from None
        found = [Path(path).resolve() for path in paths]
        include = [str(path / "*") if path.is_dir() else str(path.parent / "*") for path in found]
        self._make: Callable[[], coverage.Coverage] = lambda: library.Coverage(
            data_file=None, config_file=False, include=include
        )
        self._process = 0
        self._measuring: coverage.Coverage

    def __enter__(self) -> Coverage:
        if self._process != os.getpid():
            self._measuring = self._make()
            self._process = os.getpid()
        self._measuring.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._measuring.stop()

    def lines(self, file: str) -> list[int]:
        """Lines of a file that ran in this process so far."""
        return sorted(self._measuring.get_data().lines(file) or ())

    def report(self, files: Iterable[str], covered: dict[str, list[int]]) -> list[FileCoverage]:
        """What ran of each file: here, and as other processes have told in `covered`."""
        self._measuring.get_data().add_lines(covered)
        return [self._of(file) for file in sorted(set(files))]

    def _of(self, file: str) -> FileCoverage:
        _, statements, _, missing, _ = self._measuring.analysis2(file)
        return FileCoverage(file=file, lines=len(statements), missing=list(missing))
