"""Finding source and destination types."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingestd.config import components, show
from ingestd.config.components import UnknownType

from .conftest import Examine

PLUG_IN = '''
from ingestd.config.models import SourceConfig


class Config(SourceConfig):
    """A source of someone else's."""

    address: str
    """Where."""
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a package with a source type `elsewhere`, as pip would."""
    site = tmp_path / "site"
    information = site / "elsewhere-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[ingestd.sources]\nelsewhere = elsewhere_source\n")
    monkeypatch.syspath_prepend(site)

    def install(code: str) -> None:
        (site / "elsewhere_source.py").write_text(code)
        components.names.cache_clear()

    yield install
    sys.modules.pop("elsewhere_source", None)
    components.names.cache_clear()


def test_a_built_in_type() -> None:
    """The type is the name of the module, which is imported on demand."""
    assert components.load("sources", "directory").__name__ == "ingestd.sources.directory"


@pytest.mark.parametrize("name", ["base", "_folder", "__init__", "nope", "", "../x", "os.path", "directory.Config"])
def test_what_is_no_type(name: str) -> None:
    """Helpers, contracts and paths are no types; the message lists those that are."""
    with pytest.raises(UnknownType, match="directory, gcp_pubsub, memory"):
        components.load("sources", name)


def test_a_plug_in(install: Callable[[str], None], examined: Examine) -> None:
    """A type from another package is validated, suggested and documented like a built-in one."""
    install(PLUG_IN)
    assert examined("sources: {a: {type: elsewhere, address: x}}").problems == []
    (unknown,) = examined("sources: {a: {type: elsewhere, address: x, adress: y}}").problems
    assert unknown.hint == "did you mean 'address'?"
    (near,) = examined("sources: {a: {type: elsewere}}").problems
    assert "did you mean 'elsewhere'?" in near.message
    assert "Where." in str(show.json_schema())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nothing_like_this", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("x = 1", "is not a module with a Config"),
    ],
)
def test_a_broken_plug_in(install: Callable[[str], None], examined: Examine, code: str, says: str) -> None:
    """What is wrong with a plug-in is a problem of the configuration that names it, and of no other."""
    install(code)
    (problem,) = examined("sources: {a: {type: elsewhere}}").problems
    assert problem.path == "sources.a.type"
    assert says in problem.message
    assert examined("sources: {a: {type: memory}}").problems == []
