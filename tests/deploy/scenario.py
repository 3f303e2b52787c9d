"""What happens on the machine of `test_real_systemd`: runs there as root, and writes what it saw to /facts.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/ingestd/ingestd.yml")
TOKEN = Path("/etc/ingestd/admin_token")


def main() -> None:
    """One thing after the other; each leaves its facts."""
    facts: dict[str, Any] = {}
    try:
        subprocess.run(["systemd-sysusers"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for step in (start, work, lose_a_worker, reload, refuse_a_reload, hang, stop, refuse_to_start):
            facts[step.__name__] = step()
    finally:
        journal = systemd("journalctl", "-u", "ingestd", "--no-pager", "-o", "cat").stdout
        Path("/facts.json").write_text(json.dumps(facts | {"journal": journal}))


def start() -> dict[str, Any]:
    """`systemctl start` returns when the daemon has said that it is ready."""
    done = systemd("systemctl", "start", "ingestd")
    status = Path(f"/proc/{unit()['MainPID']}/status").read_text()
    process = dict(line.split(":\t", 1) for line in status.splitlines())
    return {
        "code": done.returncode,
        "unit": unit(),
        "user": process["Uid"].split()[0] != "0",
        "capabilities": int(process["CapEff"], 16),
        "no_new_privileges": process["NoNewPrivs"],
        "filtered": process["Seccomp"],
    }


def work() -> dict[str, Any]:
    """The sample logs are ingested, and a detection tells what it may do."""
    until(lambda: metric("ingestd_lake_rows_total", table="rule_matches") > 0)
    until(lambda: " records/s" in unit()["StatusText"])
    return {
        "rows": metric("ingestd_lake_rows_total", table="events"),
        "status": unit()["StatusText"],
        "alerts": [json.loads(line)["title"] for line in alerts().splitlines()],
    }


def lose_a_worker() -> dict[str, Any]:
    """A worker is killed, as the kernel does when memory is short."""
    main_pid = int(unit()["MainPID"])
    (zygote,) = children(main_pid)
    os.kill(children(zygote)[0], signal.SIGKILL)
    until(lambda: metric("ingestd_worker_restarts_total", reason="died") == 1)
    return {"same_daemon": int(unit()["MainPID"]) == main_pid, "unit": unit()}


def reload() -> dict[str, Any]:
    """A good configuration is put in force."""
    done = systemd("systemctl", "reload", "ingestd")
    until(lambda: metric("ingestd_config_reloads_total", outcome="applied") == 1)
    until(lambda: unit()["SubState"] == "running")
    return {"code": done.returncode, "unit": unit()}


def refuse_a_reload() -> dict[str, Any]:
    """A broken one is refused by `systemctl reload` itself; the daemon goes on."""
    good = CONFIG.read_text()
    CONFIG.write_text(good + "nonsense: 1\n")
    done = systemd("systemctl", "reload", "ingestd")
    CONFIG.write_text(good)
    return {"code": done.returncode, "unit": unit(), "rows": metric("ingestd_lake_rows_total", table="events")}


def hang() -> dict[str, Any]:
    """The daemon is stopped in its tracks: no sign of life comes, and systemd starts it anew."""
    main_pid = unit()["MainPID"]
    os.kill(int(main_pid), signal.SIGSTOP)
    until(lambda: unit()["MainPID"] not in {main_pid, "0"} and unit()["ActiveState"] == "active")
    return {"unit": unit()}


def stop() -> dict[str, Any]:
    """It drains and ends by itself."""
    began = time.monotonic()
    done = systemd("systemctl", "stop", "ingestd")
    return {"code": done.returncode, "seconds": time.monotonic() - began, "unit": unit()}


def refuse_to_start() -> dict[str, Any]:
    """With a broken configuration it ends at once, and is not started again and again."""
    systemd("systemctl", "reset-failed", "ingestd")
    CONFIG.write_text(CONFIG.read_text() + "nonsense: 1\n")
    done = systemd("systemctl", "start", "ingestd")
    time.sleep(8)  # longer than RestartSec: nothing happens, and that takes time to see
    return {"code": done.returncode, "unit": unit()}


def systemd(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of its programs."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unit() -> dict[str, str]:
    """What systemd knows of it."""
    names = "ActiveState,SubState,StatusText,MainPID,Result,NRestarts,ExecMainStatus"
    shown = systemd("systemctl", "show", "ingestd", "-p", names).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def alerts() -> str:
    """What the destination wrote."""
    return Path("/var/lib/ingestd/alerts.jsonl").read_text()


def metric(name: str, **labels: str) -> float:
    """From the admin port, with the token that the daemon has as a credential."""
    request = urllib.request.Request(
        "http://127.0.0.1:9464/metrics", headers={"Authorization": f"Bearer {TOKEN.read_text()}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    wanted = name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "} "
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(wanted))


def children(pid: int) -> list[int]:
    """Process ids right below."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    deadline = time.monotonic() + 40
    while True:
        try:
            if condition():
                return
        except OSError:
            pass  # the port does not answer yet
        assert time.monotonic() < deadline, unit()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
