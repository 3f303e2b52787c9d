"""A power cut at every step of the protocol: each record is in the lake once, whatever the next daemon finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from ingestd.lake.files import Disk, LocalFiles
from ingestd.lake.writer import Writer
from ingestd.ledger import Ledger
from ingestd.model import Range
from tests.lake.conftest import House, chunk, done
from tests.lake.disks import ForgetfulDisk

STEPS = (
    "lake.before_prepare",
    "lake.after_prepare",
    "lake.after_staged_file",
    "lake.before_commit",
    "lake.after_commit",
    "lake.after_publish_file",
    "lake.before_published_mark",
)
OBJECTS = {"a": 5, "b": 3}
EVERYTHING = sorted(f"{identity}/{ordinal}" for identity, end in OBJECTS.items() for ordinal in range(end))


async def read_all(ledger: Ledger, writer: Writer) -> None:
    """Read what is not committed yet, as the pipeline does."""
    for identity, records in OBJECTS.items():
        answer = await ledger.claim(identity, source="s", url=identity)
        if answer.status == "done":
            continue
        assert answer.status == "granted"
        for first, end in _gaps(answer.skip, records):
            result = chunk((identity, first, end), matching=True)
            await writer.add(result, [f"alert-of-{match.row_id}" for match in result.matches])
        writer.finish(identity, done(records))


def _gaps(skip: tuple[Range, ...], records: int) -> list[Range]:
    edges = [0, *(edge for one in skip for edge in one), records]
    return [(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end]


async def crashed(writer: Writer) -> None:
    """Let the armed failpoint be reached."""
    writer.request_commit("test")
    assert writer._loop is not None
    await asyncio.wait([writer._loop])


async def check(house: House) -> None:
    """All of it, once, by name; nothing in staging."""
    assert house.ids() == EVERYTHING
    assert len(house.ids("rule_matches", "p_row_id")) == len(EVERYTHING)
    assert house.ids("rule_matches", "p_alert_id") == [
        f"alert-of-{row_id}" for row_id in house.ids("rule_matches", "p_row_id")
    ]
    assert house.staged() == []


@pytest.mark.parametrize("lossy", [False, True], ids=["killed", "power_cut"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_loses_and_repeats_nothing(
    house: House, crash_at: Callable[[str], None], step: str, *, lossy: bool
) -> None:
    """The next daemon rolls forward what was committed and reads the rest again."""
    disk = ForgetfulDisk(house.lake) if lossy else Disk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    crash_at(step)
    await crashed(writer)
    await house.crash()
    if isinstance(disk, ForgetfulDisk):
        disk.cut_power()
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    await writer.close()
    if isinstance(disk, ForgetfulDisk):
        disk.cut_power()
    await check(house)


@pytest.mark.parametrize("step", STEPS[4:])
async def test_a_crash_of_the_recovery_is_recovered_from(
    house: House, crash_at: Callable[[str], None], step: str
) -> None:
    """Rolling forward may be cut short as often as it likes."""
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    crash_at("lake.after_commit")
    await crashed(writer)
    await house.crash()
    crash_at(step)
    if step == "lake.after_commit":
        await house.daemon()
    else:
        with pytest.raises(BaseException, match=step):
            await house.daemon()
    await house.crash()
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    await writer.close()
    await check(house)


async def test_a_survivor_takes_over_from_a_dead_daemon(house: House, crash_at: Callable[[str], None]) -> None:
    """Two daemons share the lake; the one that is left publishes and reads what the other one had."""
    survivor = await house.daemon()
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    crash_at("lake.after_publish_file")
    await crashed(writer)
    await house.crash()
    ledger, writer = survivor
    await writer.recover()
    await read_all(ledger, writer)
    await writer.flush()
    await check(house)


async def test_the_staging_of_a_living_daemon_is_left_alone(house: House, crash_at: Callable[[str], None]) -> None:
    """Recovery empties only what no batch will ever need."""
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    crash_at("lake.before_commit")
    await crashed(writer)  # it hangs there, and its daemon goes on
    staged = house.staged()
    (house.lake / "_staging" / "old").mkdir()
    (house.lake / "_staging" / "old" / "x.parquet").write_bytes(b"")
    await house.daemon()
    assert house.staged() == staged != []
    assert not (house.lake / "_staging" / "old").exists()


async def test_a_committed_file_that_is_missing_is_told_and_left_to_be_restored(
    house: House, crash_at: Callable[[str], None]
) -> None:
    """Somebody emptied staging by hand: the daemon starts, says which file, and finishes once it is back."""
    ledger, writer = await house.daemon()
    await read_all(ledger, writer)
    crash_at("lake.after_commit")
    await crashed(writer)
    await house.crash()
    kept = {path: path.read_bytes() for path in house.staged()}
    for path in kept:
        path.unlink()
    with capture_logs() as logs:
        await house.daemon()
    assert "is gone and was not published" in str(logs)
    await house.crash()
    for path, content in kept.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    await house.daemon()
    await check(house)
