"""When the workers get other code and other tables."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ingestd.config.load import load
from ingestd.config.models import Root
from ingestd.errors import ConfigError, Problem
from ingestd.forever import for_ever
from ingestd.generations import Generations
from ingestd.telemetry import catalogue
from ingestd.workers.pool import Pool
from ingestd.workers.settings import CodeSpec


class Workers:
    """In the place of the pool: what it was told to load."""

    def __init__(self) -> None:
        self.loaded: list[CodeSpec] = []
        self.refuses = False
        self.told = 0

    async def start(self, spec: CodeSpec) -> None:
        """As `Pool.start`."""
        self.loaded.append(spec)

    async def reload(self, spec: CodeSpec) -> None:
        """As `Pool.reload`."""
        if self.refuses:
            raise ConfigError([Problem("a broken rule")])
        self.loaded.append(spec)

    async def tell(self) -> None:
        """What is called after each load."""
        self.told += 1


class Site:
    """A configuration with a folder of rules and one of tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("rules", "tables"):
            (folder / name).mkdir()
        (folder / "tables" / "t.csv").write_text("key\na\n")
        self.refresh_secs = 60
        self.workers = Workers()
        self.generations = Generations(cast(Pool, self.workers), self.workers.tell)

    def root(self, **detections: Any) -> Root:
        """The configuration."""
        config = {
            "sources": {"inbox": {"type": "directory", "path": "inbox"}},
            "detections": {"paths": ["rules"], **detections},
            "enrichment": {"paths": ["tables"], "refresh_secs": self.refresh_secs},
        }
        (self.folder / "ingestd.yml").write_text(yaml.safe_dump(config))
        return load(self.folder / "ingestd.yml")

    def table(self, text: str) -> None:
        """Other data."""
        (self.folder / "tables" / "t.csv").write_text(text)

    async def refreshed(self) -> int:
        """How often code was loaded, after one more look at the tables."""
        await self.generations.refresh()
        assert self.workers.told == len(self.workers.loaded)
        return len(self.workers.loaded)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """Loaded once."""
    site = Site(tmp_path)
    await site.generations.start(site.root())
    return site


async def test_a_table_is_loaded_once_it_stays_as_it_is(site: Site) -> None:
    """Not while someone writes it, and not again without a change."""
    assert await site.refreshed() == 1
    site.table("key\na\nb")
    assert await site.refreshed() == 1
    site.table("key\na\nbc\n")
    assert await site.refreshed() == 1
    assert await site.refreshed() == 2
    assert await site.refreshed() == 2
    (site.folder / "tables" / "t.csv").unlink()
    assert await site.refreshed() == 2
    assert await site.refreshed() == 3


async def test_code_that_changed_too_waits_for_a_reload(site: Site) -> None:
    """Someone may be in the middle of writing it; the reload takes both."""
    site.table("key\nb\n")
    (site.folder / "rules" / "half.py").write_text("def rule(event):\n    ret")
    for _ in range(3):
        assert await site.refreshed() == 1
    await site.generations.change(site.root())
    assert len(site.workers.loaded) == 2
    assert await site.refreshed() == 2


async def test_tables_that_the_workers_refuse_are_tried_again_and_told(site: Site) -> None:
    """The old ones stay in use."""
    site.workers.refuses = True
    site.table("key\nb\n")
    before = catalogue.value("ingestd_errors_total", stage="refresh", error_type="config")
    assert [await site.refreshed() for _ in range(3)] == [1, 1, 1]
    assert catalogue.value("ingestd_errors_total", stage="refresh", error_type="config") == before + 2
    site.workers.refuses = False
    assert await site.refreshed() == 2


async def test_a_reload_without_a_change_leaves_the_workers_alone(site: Site) -> None:
    """Other settings of detections, granted secrets among them, and other files are changes."""
    await site.generations.change(site.root())
    assert len(site.workers.loaded) == 1
    await site.generations.change(site.root(secrets={"values": {"panther-analysis/a": {"env": "A"}}}))
    assert len(site.workers.loaded) == 2
    (site.folder / "rules" / "note.yml").write_text("a: 1\n")
    await site.generations.change(site.root(secrets={"values": {"panther-analysis/a": {"env": "A"}}}))
    assert len(site.workers.loaded) == 3


async def test_a_refused_reload_changes_nothing(site: Site) -> None:
    """The configuration from before goes on, and tables are refreshed by it."""
    site.workers.refuses = True
    with pytest.raises(ConfigError):
        await site.generations.change(site.root(enable=["X"]))
    site.workers.refuses = False
    site.table("key\nb\n")
    assert [await site.refreshed() for _ in range(2)] == [1, 2]
    assert site.workers.loaded[-1] == site.workers.loaded[0]


async def test_how_often_tables_are_looked_at_is_that_of_the_last_reload(site: Site) -> None:
    """Each pause is as long as the configuration in use says when it begins."""
    paused: list[float] = []
    secs = iter((60, 5, 7))

    async def turn() -> None:
        if paused:
            site.refresh_secs = next(secs)
            site.workers.refuses = site.refresh_secs == 7
            with contextlib.suppress(ConfigError):
                await site.generations.change(site.root(enable=[] if site.refresh_secs != 7 else ["X"]))

    def pause() -> float:
        paused.append(site.generations.refresh_secs)
        if len(paused) == 4:
            task.cancel()
        return 0.0

    task = asyncio.create_task(for_ever(turn, "daemon", every_secs=pause))
    await asyncio.gather(task, return_exceptions=True)
    assert paused == [60, 60, 5, 5]
