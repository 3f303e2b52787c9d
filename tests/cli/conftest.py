"""Runs the command line in this process, as the shell would see it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ingestd.cli.main import main


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Ingestd = Callable[..., Ended]


@pytest.fixture
def ingestd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ingestd:
    """Runs `ingestd ARGUMENTS…`."""

    def ingestd(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ingestd", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        return Ended(code, *capsys.readouterr())

    return ingestd


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid configuration on files of the test's own."""
    file = tmp_path / "ingestd.yml"
    file.write_text(
        textwrap.dedent("""\
            sources: {inbox: {type: directory, path: ./inbox}}
            destinations: {kept: {type: file, path: ./alerts.jsonl}}
            http: {listen: "127.0.0.1:1"}
            """)
    )
    return file
