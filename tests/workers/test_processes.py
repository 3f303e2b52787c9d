"""The processes themselves: what they see, what they leave behind, what becomes of them without their parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from ingestd.errors import ConfigError
from ingestd.workers.generation import Child, Zygote, scrubbed
from ingestd.workers.limits import NICE
from ingestd.workers.orders import CHILD_FDS
from ingestd.workers.pool import Pool
from ingestd.workers.settings import MIB
from tests.workers.conftest import QUICK, House, lines, row_ids_of, run_all, until

ROOT = Path(__file__).parents[2]


async def _surroundings(house: House, factory: str) -> str:
    """What a zygote says that sees only that."""
    house.factory = f"tests.workers.fakes:{factory}"
    with pytest.raises(ConfigError) as caught:
        await Pool(QUICK, house.keep).start(house.spec)
    return str(caught.value)


async def test_children_see_no_secret_of_the_environment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment, children get what Python needs and what the settings name; stdin is empty."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    seen = await _surroundings(house, "environment")
    assert "AWS" not in seen
    assert "hunter2" not in seen
    assert "'PATH'" in seen
    assert "stdin=/dev/null" in seen
    assert "AWS_REGION" in scrubbed({"AWS_REGION": "x", "TOKEN": "y"}, ("AWS_REGION",))
    assert "TOKEN" not in scrubbed({"AWS_REGION": "x", "TOKEN": "y"}, ("AWS_REGION",))


async def test_children_import_nothing_of_the_parent(house: House) -> None:
    """Neither asyncio nor the metrics nor a cloud SDK comes with what a child runs."""
    assert "found=[]" in await _surroundings(house, "forbidden")


async def test_the_parent_goes_first_where_cores_are_short(house: House) -> None:
    """Detections that compute all the time must not keep it from extending leases."""
    await house.start()
    children = house.pool.pids()["children"]
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    await until(lambda: {os.getpriority(os.PRIO_PROCESS, child) for child in children} == {wanted})


async def test_children_leave_the_terminal_but_not_the_session(house: House) -> None:
    """Ctrl-C goes to the parent's process group alone; a nice value only counts among processes of one session, where
    the kernel shares cores among sessions."""
    await house.start()
    pids = house.pool.pids()
    processes = [*pids["zygotes"], *pids["children"]]
    await until(lambda: len({os.getpgid(pid) for pid in processes} | {os.getpgid(0)}) == len(processes) + 1)
    assert {os.getsid(pid) for pid in processes} == {os.getsid(0)}


async def test_prints_of_rules_go_nowhere(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """What a rule prints reaches neither our output nor the frames."""
    house.rule(
        "Rule.Prints",
        "import os\ndef rule(event):\n    print('x' * 10_000)\n    os.write(1, b'raw')\n    return True\n",
    )
    await house.start()
    await house.run("object", lines(100))
    assert house.matches("Rule.Prints") == row_ids_of({"object": 100})
    assert "xxx" not in capfd.readouterr().out


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.workers.conftest import House, lines

async def main():
    house = House(Path(sys.argv[1]))
    house.rule("Rule.Stuck", "def rule(event):\\n    sum(range(10**12))\\n")
    await house.start()
    pids = house.pool.pids()
    print("pids", *pids["zygotes"], *pids["children"], flush=True)
    await house.run("object", lines(1))

asyncio.run(main())
"""


@pytest.mark.parametrize("victim", ["parent", "zygote"])
def test_no_process_outlives_the_daemon(tmp_path: Path, victim: str) -> None:
    """After kill -9 of the daemon, or of the zygote and then the daemon, nothing is left, not even a child in the
    midst of one long call into C."""
    command = [sys.executable, "-c", textwrap.dedent(DAEMON), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as daemon:
        try:
            assert daemon.stdout is not None
            pids = [int(pid) for pid in next(line for line in daemon.stdout if line.startswith(b"pids")).split()[1:]]
            assert all(_alive(pid) for pid in pids)
            if victim == "zygote":
                os.kill(pids[0], signal.SIGKILL)
                _wait_until_gone(pids)
        finally:
            daemon.kill()
    _wait_until_gone(pids)


def _wait_until_gone(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            gone = poll.poll(10_000)
            os.close(handle)
            assert gone, f"process {pid} is still there"


async def test_subprocess_of_a_rule_ends_with_its_child(house: House) -> None:
    """What a rule starts and leaves behind is ended when its child is."""
    house.rule(
        "Rule.Starts",
        """
        import subprocess
        def rule(event):
            return True
        def title(event):
            return str(subprocess.Popen(["sleep", "1000"]).pid)
        """,
    )
    await house.start()
    await house.run("object", lines(1))
    (match,) = (match for result in house.results for match in result.matches)
    assert _alive(int(match.title))
    await house.pool.reload(house.spec)  # the old children end
    await until(lambda: not _alive(int(match.title)))


@contextlib.contextmanager
def _nothing_grows() -> Iterator[None]:
    """File descriptors, processes and tasks are as many afterwards as before, and memory hardly grows."""
    before, memory = _counts(), _resident_bytes()
    yield
    assert _counts() == before
    assert _resident_bytes() < memory + 32 * MIB


def _counts() -> tuple[int, int, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return len(os.listdir("/proc/self/fd")), len(children), len(asyncio.all_tasks())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_reload_takes_new_code_and_lets_old_work_end(house: House) -> None:
    """An object under way ends in the code that it began with; the next one runs in the new code."""
    house.rule("Rule.It", "def rule(event):\n    return event['id'] % 2 == 0\n")
    await house.start()
    gate = asyncio.Event()

    async def read() -> AsyncIterator[bytes]:
        yield lines(50)
        await gate.wait()
        yield lines(50, 50)

    old = asyncio.create_task(house.pool.run(house.task("old"), read))
    await until(lambda: house.pool.stats().busy)
    house.rule("Rule.It", "def rule(event):\n    return event['id'] % 5 == 0\n")
    await house.pool.reload(house.spec)
    assert len(house.pool.pids()["zygotes"]) == 2
    await house.run("new", lines(100))
    gate.set()
    await old
    house.assert_whole({"old": 100, "new": 100})
    assert house.matches("Rule.It") == sorted(row_ids_of({"old": 100}, 2) + row_ids_of({"new": 100}, 5))
    await until(lambda: len(house.pool.pids()["zygotes"]) == 1)


async def test_reload_that_fails_changes_nothing(house: House) -> None:
    """Code that does not load is refused with its problems; the old code goes on."""
    house.every("Rule.Tens", 10)
    await house.start()
    pids = house.pool.pids()
    house.rule("Rule.Broken", "def rule(event)\n")
    with _nothing_grows(), pytest.raises(ConfigError, match="Broken"):
        await house.pool.reload(house.spec)
    assert house.pool.pids() == pids
    await house.run("object", lines(100))
    assert house.matches("Rule.Tens") == row_ids_of({"object": 100}, 10)


async def _reload_and_die(house: House, times: int) -> None:
    for n in range(times):
        await house.run(f"object {n}", lines(10))
        os.kill(house.pool.pids()["children"][-1], signal.SIGKILL)  # those before it are ending by themselves
        await house.run(f"other {n}", lines(10))
        await house.pool.reload(house.spec)
    await until(lambda: all(len(pids) == 1 for pids in house.pool.pids().values()))


async def test_reloads_and_deaths_leave_nothing_behind(house: House) -> None:
    """File descriptors and tasks do not grow over reloads and deaths."""
    house.every("Rule.Tens", 10)
    await house.start(msgspec.structs.replace(QUICK, workers=1))
    await _reload_and_die(house, 2)
    with _nothing_grows():
        await _reload_and_die(house, 6)


@pytest.mark.slow
async def test_a_hundred_reloads_and_deaths_leave_nothing_behind(house: House) -> None:
    """The same a hundred times."""
    house.every("Rule.Tens", 10)
    await house.start(msgspec.structs.replace(QUICK, workers=1))
    await _reload_and_die(house, 2)
    with _nothing_grows():
        await _reload_and_die(house, 100)


async def test_orders_wait_for_a_zygote_that_is_busy(house: House) -> None:
    """A zygote that is stopped gets all orders once it goes on: it is not taken for dead, and no kill is dropped."""
    house.every("Rule.Tens", 10)
    zygote = await Zygote.start(house.spec, QUICK)
    try:
        ends = [os.open(os.devnull, os.O_RDWR) for _ in range(CHILD_FDS)]
        os.kill(zygote.pid, signal.SIGSTOP)
        unknown = Child(0)
        for _ in range(5_000):
            zygote.kill(unknown)
        forking = asyncio.create_task(zygote.fork(ends))
        await asyncio.sleep(0)
        assert not forking.done()
        os.kill(zygote.pid, signal.SIGCONT)
        child = await asyncio.wait_for(forking, 10)
        zygote.kill(child)
        assert await asyncio.wait_for(child.exited, 10) is not None
        assert not zygote.died.is_set()
    finally:
        for end in ends:
            os.close(end)
        await zygote.close()


async def test_closing_ends_every_process(house: House) -> None:
    """After `close` no process is left, whatever it was doing."""
    house.rule("Rule.Stuck", "def rule(event):\n    sum(range(10**12))\n")
    await house.start()
    pids = [pid for kind in house.pool.pids().values() for pid in kind]
    running = asyncio.gather(run_all(house, {"a": lines(1), "b": lines(1)}), return_exceptions=True)
    await until(lambda: house.pool.stats().busy == 2)
    await house.pool.close()
    await running
    assert not any(_alive(pid) for pid in pids)
