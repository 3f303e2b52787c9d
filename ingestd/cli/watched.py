"""A detection under the debugger, for `ingestd debug` alone: Python's debugger takes a while to import."""

from __future__ import annotations

import bdb
import pdb
from collections.abc import Callable
from typing import Any

import typer

from ingestd.cli import output
from ingestd.detections import failure
from ingestd.detections.runnable import Runnable


class Watched:
    """A detection whose functions show what they raise, and stop where the user wants to look."""

    def __init__(self, runnable: Runnable, *, stop: bool, post_mortem: bool) -> None:
        self.left = False
        self._post_mortem = post_mortem
        decide = runnable.decide
        if stop:
            if runnable.module is None:
                raise typer.BadParameter("a detection in YAML has no line to stop at", param_hint="--stop")
            decide = _stopping(decide)
        runnable.decide = self._showing(decide)
        runnable.functions = {name: self._showing(function) for name, function in runnable.functions.items()}

    def _showing(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def shown(event: Any) -> Any:
            try:
                return function(event)
            except bdb.BdbQuit:
                self.left = True
                raise
            except BaseException as error:
                if error.__traceback__ is not None:
                    error.__traceback__ = error.__traceback__.tb_next  # the author's frames, without this one
                output.note(failure.traceback_text(error))
                if self._post_mortem and error.__traceback__ is not None:
                    pdb.post_mortem(error.__traceback__)
                raise

        return shown


class _Debugger(pdb.Pdb):
    left = False

    def set_quit(self) -> None:
        self.left = True
        super().set_quit()


def _stopping(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def stopping(event: Any) -> Any:
        debugger = _Debugger()
        said = debugger.runcall(function, event)
        if debugger.left:
            raise bdb.BdbQuit  # which runcall keeps to itself
        return said

    return stopping
