"""The sample configuration, file by file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingestd.config import components, reference
from ingestd.config.load import examine
from ingestd.schemas.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "config"
SAMPLES = sorted(FOLDER.glob("sources.d/*.yml"))
VARIABLE = re.compile(r"\$\{([A-Z_]+):\?")


def environment_of(*files: Path) -> dict[str, str]:
    """A value for each variable that a sample demands."""
    values = {name: "https://example.com/1/name" for file in files for name in VARIABLE.findall(file.read_text())}
    return values | {"GCP_SUBSCRIPTION": "projects/example/subscriptions/logs"}


def known_log_types(_: object) -> set[str]:
    """The built-in log types."""
    return set(Registry.load(()).names)


def test_the_root_sample_is_valid() -> None:
    """The sample works as it lies there."""
    loaded = examine(FOLDER / "ingestd.yml", environment={}, log_types=known_log_types)
    assert loaded.problems == []
    assert list(loaded.root.sources) == ["inbox"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_each_source_sample_is_valid(sample: Path, tmp_path: Path) -> None:
    """Each file works in a configuration of its own, and shows the type that it is named after."""
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "sources.d" / sample.name).write_text(sample.read_text())
    (tmp_path / "ingestd.yml").write_text("logging: {level: info}\n")
    loaded = examine(tmp_path / "ingestd.yml", environment=environment_of(sample), log_types=known_log_types)
    assert loaded.problems == []
    assert {source.type for source in loaded.root.sources.values()} == {sample.stem}


def test_every_source_type_has_a_sample() -> None:
    """A new source type comes with its sample."""
    assert {sample.stem for sample in SAMPLES} == set(components.names("sources"))


@pytest.mark.parametrize("file", [FOLDER / "ingestd.yml", *SAMPLES], ids=lambda file: file.stem)
def test_editors_find_the_schema(file: Path) -> None:
    """The first line leads an editor to the schema beside the samples."""
    first = file.read_text().splitlines()[0]
    relative = first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((file.parent / relative).read_text())["title"] == "ingestd"


@pytest.mark.parametrize("name", ["docs/configuration.md", "config/ingestd.schema.json"])
def test_the_reference_is_current(name: str) -> None:
    """What is generated from the models says what the models say; `scripts/reference` writes it."""
    assert (REPOSITORY / name).read_text() == reference.generated(REPOSITORY)[name], f"{name}: run scripts/reference"
