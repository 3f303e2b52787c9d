"""query, rejects, alerts, healthcheck, run: the commands that look at a daemon and its data."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd import daemon
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing, Rule
from ingestd.cli import progress
from ingestd.model import Match
from ingestd.state.sqlite import SqliteState
from ingestd.telemetry import catalogue
from ingestd.telemetry.health import Health
from ingestd.telemetry.http import AdminServer, Settings

from .conftest import Ingestd


def match(number: int, *, title: str = "Root login", severity: str = "HIGH") -> Match:
    """A match of one rule, each in a window of its own."""
    return Match(
        kind="rule",
        detection_id="Test.Rule",
        row_id=f"{number:032x}",
        log_type="AWS.CloudTrail",
        event_time="2024-01-01 00:00:00.000000000",
        dedup=f"d{number}",
        title=title,
        severity=severity,  # type: ignore[arg-type]
    )


def record(config: Path, *matches: Match) -> None:
    """Put matches into the state that the configuration names, as the daemon does."""

    async def work() -> None:
        state = SqliteState.open(config.parent / "state.db")
        await Alerts(state, Routing([Rule(name="kept")])).record(matches)
        await state.close()

    asyncio.run(work())


# --- query and rejects


def test_query_as_a_table_and_as_json(ingestd: Ingestd, config: Path) -> None:
    """An answer is a table for people and JSON lines for scripts."""
    head, _, row = ingestd("query", "-c", config, "select 1 as one, 'x' as two").out.splitlines()
    assert (head.split(), row.split()) == (["one", "two"], ["1", "x"])
    assert json.loads(ingestd("query", "-c", config, "--json", "select 1 as one").out) == {"one": 1}


def test_query_from_stdin(ingestd: Ingestd, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads the question from stdin."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 2 as two"))
    assert json.loads(ingestd("query", "-c", config, "--json", "-").out) == {"two": 2}


def test_a_lake_without_data_is_empty_not_wrong(ingestd: Ingestd, config: Path) -> None:
    """Tables of log types and of rejects can be asked before anything was written."""
    assert ingestd("query", "-c", config, "--json", 'select eventName from "AWS.CloudTrail"') == (0, "", "")
    assert ingestd("rejects", "-c", config, "--json") == (0, "", "")
    assert ingestd("rejects", "-c", config, "--summary", "--source", "it's", "--reason", "x", "--json") == (0, "", "")


def test_a_wrong_question(ingestd: Ingestd, config: Path) -> None:
    """What DuckDB says is told, without a traceback, with code 1."""
    ended = ingestd("query", "-c", config, "selec")
    assert (ended.code, ended.out) == (1, "")
    assert "Parser Error" in ended.err


def test_wrong_schemas_do_not_lock_the_lake(ingestd: Ingestd, config: Path) -> None:
    """What was written can be asked although a schema is wrong now; the mistake is told beside."""
    (config.parent / "a.yml").write_text("schema: Custom.A\nfields: 5\n")
    config.write_text(config.read_text() + "schemas: {paths: [a.yml]}\n")
    ended = ingestd("query", "-c", config, "--json", "select count(*) as n from rejects")
    assert (ended.code, json.loads(ended.out)) == (0, {"n": 0})
    assert "a.yml" in ended.err


# --- alerts


def test_no_alerts_before_the_first_run(ingestd: Ingestd, config: Path) -> None:
    """Without a state there is no alert, and looking does not make one."""
    ended = ingestd("alerts", "-c", config)
    assert (ended.code, ended.out) == (0, "")
    assert "the daemon has not run" in ended.err
    assert not (config.parent / "state.db").exists()


def test_alerts_are_listed(ingestd: Ingestd, config: Path) -> None:
    """Each alert with severity, detection, count, title and how far it is on its way; filters narrow the list."""
    record(config, match(1), match(2, title="Other", severity="LOW"))
    rows = [json.loads(line) for line in ingestd("alerts", "-c", config, "--json").out.splitlines()]
    assert sorted((row["severity"], row["title"], row["matches"], row["delivered"]) for row in rows) == [
        ("HIGH", "Root login", 1, "kept: pending"),
        ("LOW", "Other", 1, "kept: pending"),
    ]
    only = ingestd("alerts", "-c", config, "--json", "--severity", "low", "--detection", "Test.Rule", "--since", "1h")
    assert [json.loads(line)["title"] for line in only.out.splitlines()] == ["Other"]
    assert "Root login" in ingestd("alerts", "-c", config).out


def test_one_alert_in_full(ingestd: Ingestd, config: Path) -> None:
    """An id shows everything about its alert; one that is not there is code 1."""
    record(config, match(1))
    alert_id = json.loads(ingestd("alerts", "-c", config, "--json").out)["id"]
    shown = json.loads(ingestd("alerts", alert_id, "-c", config).out)
    assert shown["window"]["alert"]["detection_id"] == "Test.Rule"
    assert ingestd("alerts", "nope", "-c", config).code == 1


def test_failed_deliveries(ingestd: Ingestd, config: Path) -> None:
    """What was given up is listed, and can be sent again."""
    record(config, match(1))
    assert ingestd("alerts", "-c", config, "--failed", "--json") == (0, "", "")
    ended = ingestd("alerts", "-c", config, "--retry")
    assert ended.code == 0
    assert "0 deliveries will be sent again" in ended.err


def test_a_time_that_is_none(ingestd: Ingestd, config: Path) -> None:
    """A wrong --since is a usage error that says what to write."""
    record(config, match(1))
    ended = ingestd("alerts", "-c", config, "--since", "yesterday")
    assert ended.code == 2
    assert "12h" in ended.err


# --- healthcheck


@pytest.fixture
def health(config: Path) -> Iterator[Health]:
    """A daemon's admin port in a thread, at the address that the configuration names."""
    loop, health = asyncio.new_event_loop(), Health()
    server = AdminServer(Settings(host="127.0.0.1", port=0), health)
    loop.run_until_complete(server.start())
    config.write_text(config.read_text().replace("127.0.0.1:1", f"127.0.0.1:{server.port}"))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield health
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_healthcheck(ingestd: Ingestd, config: Path, health: Health) -> None:
    """Well is 0, not well is 1 with the reasons."""
    assert ingestd("healthcheck", "-c", config) == (0, "ok\n", "")
    ended = ingestd("healthcheck", "-c", config, "--ready", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["reasons"] == ["no source receives: none is configured"]
    health.component("source", "a").ok()
    assert ingestd("healthcheck", "-c", config, "--ready").code == 0


def test_healthcheck_without_a_daemon(ingestd: Ingestd, config: Path) -> None:
    """No answer is 69, with the address."""
    ended = ingestd("healthcheck", "-c", config, "--timeout", "5")
    assert (ended.code, ended.out) == (69, "")
    assert "127.0.0.1:1" in ended.err


def test_healthcheck_without_a_port(ingestd: Ingestd, config: Path) -> None:
    """A daemon without an admin port cannot be asked, which is a matter of the configuration."""
    config.write_text(config.read_text().replace('"127.0.0.1:1"', "off"))
    assert ingestd("healthcheck", "-c", config).code == 78


# --- run


@pytest.mark.parametrize("code", [0, 1, 130])
def test_run_is_the_daemon(ingestd: Ingestd, config: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """`run` hands file and mode to the daemon and ends with its code."""
    calls = []

    def run(file: Path, *, once: bool = False) -> int:
        calls.append((file, once))
        return code

    monkeypatch.setattr(daemon, "run", run)
    assert ingestd("run", "-c", config).code == code
    assert ingestd("run", "-c", config, "--once").code == code
    assert calls == [(config, False), (config, True)]


def test_progress_follows_the_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar counts messages finished against those known, and in the end a line says what came out of them."""
    for declared in catalogue.CATALOGUE:
        if declared.labels:
            declared.metric.clear()
    catalogue.MESSAGES.labels(source="a", outcome="acked").inc(3)
    catalogue.MESSAGES_IN_FLIGHT.labels(source="a").set(2)
    catalogue.QUEUE_DEPTH.labels(source="a").set(5)
    catalogue.RECORDS.labels(source="a", log_type="A", outcome="ok").inc(1234)
    assert progress.now() == (3, 10, "1,234 events, 0 alerts")
    with progress.shown():
        pass
    assert "3 messages, 1,234 events, 0 alerts" in capsys.readouterr().err
