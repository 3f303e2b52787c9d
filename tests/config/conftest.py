"""A folder with configuration files, written as one would write them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestd.config.load import Loaded, examine

Write = Callable[..., Path]
Examine = Callable[..., Loaded]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text, dedented, to a file of the folder; the root file unless told otherwise."""

    def write(text: str, name: str = "ingestd.yml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.fixture
def examined(write: Write) -> Examine:
    """Writes a root file and examines it with the given environment."""

    def examined(text: str, **environment: str) -> Loaded:
        return examine(write(text), environment=environment)

    return examined
