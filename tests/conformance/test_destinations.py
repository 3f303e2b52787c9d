"""What every destination promises (`ingestd/alerts/destinations/base.py`), asked of each implementation in turn."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingestd.alerts.destinations import asana, console, file, memory, pagerduty, slack, webhook
from ingestd.alerts.destinations.base import Destination
from ingestd.config.secrets import Secret
from ingestd.errors import IngestdError, Overloaded, Permanent, Retryable
from tests.alerts.provider import (
    ASANA_PROJECT,
    ASANA_TOKEN,
    HOOK_PATH,
    HUGE_BYTES,
    PAGERDUTY_KEY,
    SLACK_PATH,
    Provider,
)
from tests.alerts.samples import alert

HOOK_KEY = "hooksigningkeysecret"
HEADER_TOKEN = "Bearer hookheadersecret"
HOSTILE_TEXT = "\x1b[31mred\x07 <!channel> & *bold* \u202eevil\x00 ```\r\n[x](http://x)"


@dataclass
class Subject:
    """A destination under test, and what has reached its people."""

    destination: Destination
    arrived: Callable[[], list[str]]
    """Alert ids, in the order in which people got them, repeats included."""
    secrets: list[str] = field(default_factory=list)
    provider: Provider | None = None


class Env:
    """Secrets in the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, name: str, value: str) -> Secret:
        self._monkeypatch.setenv(name, value)
        return Secret("env", name)


def _slack(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    url = env("SLACK_URL", provider.url + SLACK_PATH)
    made = slack.build("soc", slack.Config(type="slack", webhook_url=url, timeout_secs=timeout_secs))

    def arrived() -> list[str]:
        return [
            line["text"].split(": ")[1]
            for sent in provider.slack
            for line in _texts(sent)
            if "Alert: " in line["text"]
        ]

    return Subject(made, arrived, [SLACK_PATH, "slackhooksecret"], provider)


def _texts(sent: dict[str, Any]) -> list[dict[str, Any]]:
    return [field for block in sent["blocks"] for field in block.get("fields", [])]


def _pagerduty(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    config = pagerduty.Config(
        type="pagerduty",
        routing_key=env("PD_KEY", PAGERDUTY_KEY),
        url=f"{provider.url}/v2/enqueue",
        timeout_secs=timeout_secs,
    )
    return Subject(pagerduty.build("pager", config), lambda: list(provider.pagerduty), [PAGERDUTY_KEY], provider)


def _asana(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    config = asana.Config(
        type="asana",
        token=env("ASANA", ASANA_TOKEN),
        project=ASANA_PROJECT,
        url=f"{provider.url}/api/1.0",
        timeout_secs=timeout_secs,
    )

    def arrived() -> list[str]:
        return [task["notes"].split("Alert: ")[1].split("\n")[0] for task in provider.asana]

    return Subject(asana.build("tasks", config), arrived, [ASANA_TOKEN], provider)


def _webhook(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    config = webhook.Config(
        type="webhook",
        url=env("HOOK_URL", provider.url + HOOK_PATH),
        secret=env("HOOK_KEY", HOOK_KEY),
        headers={"Authorization": env("HOOK_TOKEN", HEADER_TOKEN)},
        timeout_secs=timeout_secs,
    )
    secrets = [HOOK_PATH, HOOK_KEY, "hookheadersecret"]
    return Subject(
        webhook.build("hook", config), lambda: [sent["alert_id"] for sent in provider.hook], secrets, provider
    )


def _file(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    path = tmp_path / "alerts.jsonl"

    def arrived() -> list[str]:
        return [json.loads(line)["alert_id"] for line in path.read_text().splitlines()]

    return Subject(file.build("log", file.Config(type="file", path=path)), arrived)


def _console(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    stream = (tmp_path / "out").open("w+")

    def arrived() -> list[str]:
        lines = (tmp_path / "out").read_text().splitlines()
        return [line.split("alert ")[1] for line in lines if line.strip().startswith("alert ")]

    return Subject(console.ConsoleDestination("console", console.Config(type="console"), stream), arrived)


def _memory(provider: Provider, env: Env, tmp_path: Path, timeout_secs: float = 10) -> Subject:
    made = memory.build("memory", memory.Config(type="memory"))
    return Subject(made, lambda: [sent.alert_id for sent in made.received])


OVER_HTTP = [_slack, _pagerduty, _asana, _webhook]
ALL = [*OVER_HTTP, _file, _console, _memory]


def _ids(builders: list[Any]) -> list[str]:
    return [builder.__name__.strip("_") for builder in builders]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The server that plays every provider."""
    async with Provider() as running:
        yield running


@pytest.fixture(params=ALL, ids=_ids(ALL))
async def subject(
    request: pytest.FixtureRequest, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Subject]:
    """Each destination in turn."""
    made: Subject = request.param(provider, Env(monkeypatch), tmp_path)
    yield made
    await made.destination.close()


@pytest.fixture(params=OVER_HTTP, ids=_ids(OVER_HTTP))
async def remote(
    request: pytest.FixtureRequest, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Subject]:
    """Each destination over HTTP in turn."""
    made: Subject = request.param(provider, Env(monkeypatch), tmp_path)
    yield made
    await made.destination.close()


@pytest.fixture(params=OVER_HTTP, ids=_ids(OVER_HTTP))
async def impatient(
    request: pytest.FixtureRequest, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Subject]:
    """Each destination over HTTP in turn, with a short time-out."""
    made: Subject = request.param(provider, Env(monkeypatch), tmp_path, 0.2)
    yield made
    await made.destination.close()


async def refused(subject: Subject, kind: type[Retryable | Permanent]) -> Retryable | Permanent:
    """The error of an attempt, which must be of this kind, show no secret and be fit for a log line."""
    with pytest.raises(IngestdError) as caught:
        await subject.destination.send(alert())
    error = caught.value
    assert isinstance(error, kind)
    assert isinstance(error, Retryable | Permanent)
    text = f"{error!s} {error!r} {error.__cause__!r}"
    assert not [secret for secret in subject.secrets if secret in text]
    assert str(error).startswith(subject.destination.name)
    assert len(str(error)) < 1_000
    assert str(error).isprintable()
    return error


# --- all of them ------------------------------------------------------------------------------------------


async def test_an_alert_arrives(subject: Subject) -> None:
    """Sent alerts reach people in order, each with its id."""
    for number in (1, 2, 3):
        await subject.destination.send(alert(number))
    assert subject.arrived() == [alert(number).alert_id for number in (1, 2, 3)]


async def test_a_repeat_reaches_nobody_twice_where_promised(subject: Subject) -> None:
    """An exactly-once destination recognises an alert by its id; the others may show it again under the same id."""
    references = [await subject.destination.send(alert()), await subject.destination.send(alert())]
    assert set(subject.arrived()) == {alert().alert_id}
    assert len(subject.arrived()) == (1 if subject.destination.exactly_once else 2)
    assert references[0] == references[1]


async def test_hostile_text_arrives_as_text(subject: Subject) -> None:
    """Whatever an event puts into title, dedup string or context is delivered, and breaks nothing."""
    hostile = alert(
        title=HOSTILE_TEXT * 100,
        description=HOSTILE_TEXT,
        runbook=HOSTILE_TEXT,
        reference=HOSTILE_TEXT,
        dedup=HOSTILE_TEXT,
        detection_id=HOSTILE_TEXT,
        log_types=(HOSTILE_TEXT,),
        tags=(HOSTILE_TEXT,) * 50,
        first_event_time=HOSTILE_TEXT,
        context=json.dumps({HOSTILE_TEXT: [HOSTILE_TEXT] * 9}),
    )
    await subject.destination.send(hostile)
    assert subject.arrived() == [hostile.alert_id]


@pytest.mark.parametrize(
    "context",
    ["", "not json", "[" * 5_000 + "]" * 5_000, json.dumps({"k": "v" * 200_000}), json.dumps("é😀" * 60_000), "null"],
    ids=["empty", "no JSON", "nested", "long", "wide", "null"],
)
async def test_any_context_is_delivered(subject: Subject, context: str) -> None:
    """An alert's context may be as large as the format allows, or no JSON at all."""
    await subject.destination.send(alert(context=context))
    assert subject.arrived() == [alert().alert_id]


async def test_every_severity_and_kind_is_delivered(subject: Subject) -> None:
    """No severity or kind of alert is one that a destination does not know."""
    for number, (severity, kind) in enumerate(
        [("INFO", "rule"), ("LOW", "policy"), ("MEDIUM", "error"), ("HIGH", "system"), ("CRITICAL", "rule")]
    ):
        await subject.destination.send(alert(number, severity=severity, kind=kind, log_types=(), tags=()))
    assert len(subject.arrived()) == 5


async def test_a_check_alerts_nobody(subject: Subject) -> None:
    """Trying the credentials tells that they work, and shows nothing to people."""
    await subject.destination.send(alert())
    checks = await subject.destination.check()
    assert checks
    assert all(check.ok for check in checks), checks
    assert subject.arrived() == [alert().alert_id]


async def test_closing_twice_is_fine(subject: Subject) -> None:
    """`close` is idempotent, used or not."""
    await subject.destination.close()
    await subject.destination.close()


# --- over HTTP --------------------------------------------------------------------------------------------


async def test_too_many_requests_slow_down(remote: Subject) -> None:
    """429 is Overloaded, with the seconds that the provider asks for."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(429, "slow down", Retry_After="17"))
    error = await refused(remote, Overloaded)
    assert isinstance(error, Overloaded)
    assert error.retry_after == 17


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e999", "nan", "Wed, 21 Oct 2065 07:28:00 nowhere"])
async def test_a_senseless_retry_after_is_ignored(remote: Subject, value: str) -> None:
    """What is neither seconds nor a date counts as not said."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(429, "", Retry_After=value))
    error = await refused(remote, Overloaded)
    assert isinstance(error, Overloaded)
    assert error.retry_after is None or error.retry_after > 0


async def test_retry_after_may_be_a_date(remote: Subject) -> None:
    """The second form of Retry-After is understood; one that has passed is none."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(503, "", Retry_After="Wed, 21 Oct 2065 07:28:00 GMT"))
    error = await refused(remote, Retryable)
    assert isinstance(error, Retryable)
    assert error.retry_after is not None
    assert error.retry_after > 86_400


@pytest.mark.parametrize("code", [408, 425, 500, 502, 503, 504, 529])
async def test_trouble_of_the_provider_is_temporary(remote: Subject, code: int) -> None:
    """Time-outs and everything from 500 on may pass."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(code, "internal\x1b[31m trouble"))
    assert str(code) in str(await refused(remote, Retryable))


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 410, 413, 422])
async def test_a_refusal_is_permanent(remote: Subject, code: int) -> None:
    """What the provider will refuse again is not tried again, and says what was answered."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(code, "invalid_payload"))
    error = await refused(remote, Permanent)
    assert f"{code}: invalid_payload" in str(error)


async def test_redirects_are_not_followed(remote: Subject) -> None:
    """An answer that points elsewhere, perhaps to another host, gets neither the alert nor a secret."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(307, "", Location=remote.provider.url + "/elsewhere"))
    await refused(remote, Permanent)
    assert len(remote.provider.requests) == 1


async def test_no_answer_in_time_is_temporary(impatient: Subject) -> None:
    """A provider that hangs is broken off at the time-out."""
    assert impatient.provider
    impatient.provider.script.append(impatient.provider.hang)
    assert "no answer" in str(await refused(impatient, Retryable))


async def test_a_dropped_connection_is_temporary(remote: Subject) -> None:
    """A connection closed without an answer counts as not sent."""
    assert remote.provider
    # two: an HTTP client may repeat by itself what it sent on a connection that was already stale
    remote.provider.script.extend([remote.provider.drop, remote.provider.drop])
    await refused(remote, Retryable)


async def test_a_server_that_is_not_there_is_temporary(remote: Subject) -> None:
    """A refused connection may pass."""
    assert remote.provider
    await remote.provider._runner.cleanup()
    assert "127.0.0.1" in str(await refused(remote, Retryable))


async def test_a_cut_error_keeps_its_status(remote: Subject) -> None:
    """When the body of a refusal breaks off, the status still says what it was."""
    assert remote.provider
    remote.provider.script.append(remote.provider.cut(500))
    await refused(remote, Retryable)
    remote.provider.script.append(remote.provider.cut(403))
    await refused(remote, Permanent)


async def test_a_cut_success_is_not_sent_again(remote: Subject) -> None:
    """When the body of a 2xx breaks off, the alert has arrived: once, whether that was noticed or not."""
    assert remote.provider
    if isinstance(remote.destination, asana.AsanaDestination):
        await remote.destination.send(alert(99))  # so that its look-up is answered and its creation is cut
        remote.provider.asana.clear()
        remote.provider.script.append(lambda request: _page(request))
    remote.provider.script.append(remote.provider.cut(200))
    await remote.destination.send(alert())
    assert remote.arrived() == [alert().alert_id]


async def _page(request: Any) -> Any:
    from aiohttp import web

    return web.json_response({"data": [], "next_page": None})


@pytest.mark.parametrize("code", [400, 500])
async def test_a_huge_answer_is_read_to_a_bound(remote: Subject, code: int) -> None:
    """An endless answer costs neither memory nor time."""
    assert remote.provider
    remote.provider.script.append(remote.provider.huge(code))
    await refused(remote, Permanent if code == 400 else Retryable)
    assert remote.provider.bytes_sent < HUGE_BYTES


async def test_a_body_that_shows_the_secret_is_cleaned(remote: Subject) -> None:
    """A provider that quotes URL, key or token in its answer gives none of them away."""
    assert remote.provider
    remote.provider.script.append(remote.provider.status(400, " ".join(remote.secrets) + "\r\n\x1b[2J refused"))
    assert "refused" in str(await refused(remote, Permanent))


async def test_a_failing_check_says_why(remote: Subject) -> None:
    """`check` does not raise: it tells what failed, without a secret."""
    assert remote.provider
    remote.provider.script.append(remote.provider.drop)
    remote.provider.script.append(remote.provider.drop)
    checks = await remote.destination.check()
    assert [check.ok for check in checks] == [False]
    assert checks[0].detail
    assert not [secret for secret in remote.secrets if secret in str(checks)]


async def test_a_missing_secret_is_temporary(remote: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that cannot be read now is asked for again at the next attempt."""
    for name in ("SLACK_URL", "PD_KEY", "ASANA", "HOOK_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Retryable, match="not set"):
        await remote.destination.send(alert())
    assert os.environ.get("HOOK_KEY") is None


async def test_plain_http_to_other_machines_is_refused(remote: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `allow_http` nothing is sent in the clear beyond this machine."""
    for name in ("SLACK_URL", "HOOK_URL"):
        monkeypatch.setenv(name, "http://example.invalid/services/slackhooksecret")
    if isinstance(remote.destination, slack.SlackDestination | webhook.WebhookDestination):
        assert "https" in str(await refused(remote, Permanent))
    else:
        module = pagerduty if isinstance(remote.destination, pagerduty.PagerDutyDestination) else asana
        with pytest.raises(ValueError, match="https"):
            module.Config.model_validate({"type": "x", "url": "http://example.invalid/", "token": {"env": "A"}})
