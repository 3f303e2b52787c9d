"""What each provider is sent: within its limits, by its rules, with nothing of an event taken for markup."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingestd.alerts.destinations import asana, pagerduty, slack, webhook
from ingestd.alerts.destinations.http import HttpDestinationConfig, checked_url
from ingestd.alerts.destinations.text import encode_within, printable
from ingestd.config.secrets import Secret
from tests.alerts.provider import ASANA_PROJECT, ASANA_TOKEN, HOOK_PATH, Provider
from tests.alerts.samples import NOW, Clock, alert

LONG = "<!channel> & *b* `c` " * 20_000


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The server that plays every provider."""
    async with Provider() as running:
        yield running


# --- text -------------------------------------------------------------------------------------------------


@given(st.text())
def test_printable_text_has_nothing_active_in_it(text: str) -> None:
    """Whatever the text, only printable characters, line ends and tabs are left, and one line stays one line."""
    assert all(char.isprintable() or char in "\n\t" or char.isspace() for char in printable(text))
    assert len(printable(text, one_line=True).splitlines()) <= 1
    printable(text).encode()


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=2_000), max_size=20), st.integers(2_000, 20_000))
def test_documents_keep_to_their_limit(context: dict[str, str], limit: int) -> None:
    """A context that is too large is cut to fit and says so; everything else stays."""
    body = encode_within({"title": "t", "in": {"context": context}}, limit, context=["in", "context"])
    assert len(body) <= limit
    found = json.loads(body)
    assert found["title"] == "t"
    assert found["in"]["context"] == context or "_truncated" in found["in"]["context"]


# --- Slack ------------------------------------------------------------------------------------------------


def test_slack_gets_plain_text_within_its_limits() -> None:
    """No block is markup, none is longer than Slack takes, no link is unfolded."""
    message = slack.message(alert(title=LONG, description=LONG, runbook=LONG, dedup=LONG, context=json.dumps([LONG])))
    texts = [block["text"] for block in message["blocks"] if "text" in block]
    texts += [field for block in message["blocks"] for field in block.get("fields", [])]
    assert {text["type"] for text in texts} == {"plain_text"}
    assert message["blocks"][0]["type"] == "header"
    assert len(message["blocks"][0]["text"]["text"]) <= 150
    assert all(len(text["text"]) <= 3_000 for text in texts)
    assert all(len(block.get("fields", [])) <= 10 for block in message["blocks"])
    assert len(message["blocks"]) <= 50
    assert message["unfurl_links"] is message["unfurl_media"] is message["mrkdwn"] is False
    assert "<" not in json.dumps(message)


@pytest.mark.parametrize("limit", [10, 11, 12, 13, 14, 100])
def test_slack_entities_are_never_cut_in_two(limit: int) -> None:
    """A text that is shortened ends between characters, not inside `&lt;`."""
    text = slack._escaped("ab<<&>>" * 10, limit)
    assert len(text) <= limit
    assert text.endswith("…")
    assert set(text.removesuffix("…").replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")) <= {"a", "b"}


async def test_slack_must_answer_as_slack_does(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 200 that is not Slack's, from a proxy's login page, is no delivery."""
    monkeypatch.setenv("SLACK_URL", f"{provider.url}/services/x/y/z")
    provider.script.append(provider.status(200, "<html>please log in</html>"))
    destination = slack.build("soc", slack.Config(type="slack", webhook_url=Secret("env", "SLACK_URL")))
    with pytest.raises(Exception, match="not Slack"):
        await destination.send(alert())
    await destination.close()


# --- PagerDuty --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("INFO", "info"), ("LOW", "info"), ("MEDIUM", "warning"), ("HIGH", "error"), ("CRITICAL", "critical")],
)
def test_pagerduty_severities(severity: str, expected: str) -> None:
    """Five severities map onto PagerDuty's four."""
    event = pagerduty.event(alert(severity=severity), "key", "here")
    assert event["payload"]["severity"] == expected


def test_pagerduty_events_are_within_the_limits() -> None:
    """The key is the alert id, the summary fits, the source is the configured one, links are links."""
    event = pagerduty.event(alert(title=LONG, reference="javascript:alert(1)"), "key", "here")
    assert event["dedup_key"] == alert().alert_id
    assert len(event["payload"]["summary"]) <= 1_024
    assert event["payload"]["source"] == "here"
    assert event["payload"]["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert event["links"] == [{"href": "https://example.com/runbook", "text": "Runbook"}]


async def test_pagerduty_bodies_fit_its_512_kb(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that is too large is cut so that the event is taken."""
    monkeypatch.setenv("PD_KEY", "0123456789abcdefpagerdutykeysecr")
    key = Secret("env", "PD_KEY")
    config = pagerduty.Config(type="pagerduty", routing_key=key, url=f"{provider.url}/v2/enqueue")
    destination = pagerduty.build("pager", config)
    await destination.send(alert(context=json.dumps(["\u0001" * 190_000])))
    ((_, _, headers, content),) = provider.requests
    assert int(headers["Content-Length"]) < 512_000
    assert "_truncated" in content["payload"]["custom_details"]["context"]
    await destination.close()


# --- Asana ------------------------------------------------------------------------------------------------


def _asana(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> asana.AsanaDestination:
    monkeypatch.setenv("ASANA", ASANA_TOKEN)
    config = asana.Config(
        type="asana",
        token=Secret("env", "ASANA"),
        project=ASANA_PROJECT,
        assignee="77",
        url=f"{provider.url}/api/1.0",
    )
    return asana.build("tasks", config)


async def test_asana_finds_a_task_on_a_later_page(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a task is made, all pages of recently changed tasks are searched; the reference is the task's id."""
    destination = _asana(provider, monkeypatch)
    provider.asana = [{"gid": str(n), "name": f"task {n}", "notes": ""} for n in range(250)]
    provider.asana.append({"gid": "4242", "name": asana.task_name(alert()), "notes": "Alert: x"})
    assert await destination.send(alert()) == "4242"
    assert len(provider.asana) == 251
    first = provider.requests[0][1]
    assert "modified_since=2023-11-14T22:03:20.000Z" in first
    await destination.close()


async def test_asana_makes_no_task_when_it_cannot_look(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the search breaks off, nothing is created: it might be there already."""
    destination = _asana(provider, monkeypatch)
    provider.script.append(provider.cut(200))
    with pytest.raises(Exception, match="cut"):
        await destination.send(alert())
    assert provider.asana == []
    assert await destination.send(alert()) == "9000"
    assert provider.asana[0]["assignee"] == "77"
    await destination.close()


def test_asana_names_and_notes_are_bounded_plain_text() -> None:
    """Name and notes fit, and the name ends with the mark that the search looks for."""
    long = alert(title=LONG, description=LONG, context=json.dumps([LONG]))
    assert len(asana.task_name(long)) <= 250
    assert asana.task_name(long).endswith(f"[{long.alert_id[:12]}]")
    assert len(asana.task_notes(long)) <= 30_000
    assert alert().alert_id in asana.task_notes(long)


# --- webhook ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("whsec_" + base64.b64encode(b"0123456789abcdef").decode(), b"0123456789abcdef"),
        ("plain key", b"plain key"),
        ("whsec_not base64!", b"whsec_not base64!"),
    ],
)
async def test_webhooks_are_signed_by_the_standard(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, key: str, secret: bytes
) -> None:
    """The signature is over id, timestamp and the very bytes of the body."""
    monkeypatch.setenv("HOOK_KEY", key)
    config = webhook.Config(
        type="webhook", url=provider.url + HOOK_PATH, secret=Secret("env", "HOOK_KEY"), headers={"X-Team": "soc"}
    )
    destination = webhook.WebhookDestination("hook", config, Clock())
    await destination.send(alert())
    ((_, _, headers, content),) = provider.requests
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    signed = f"{alert().alert_id}.{int(NOW)}.".encode() + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-id"] == alert().alert_id
    assert headers["webhook-timestamp"] == str(int(NOW))
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["X-Team"] == "soc"
    assert headers["Content-Type"] == "application/json"
    await destination.close()


async def test_an_unsigned_webhook_has_no_signature(provider: Provider) -> None:
    """Without a key there is no signature header, but id and time all the same."""
    destination = webhook.build("hook", webhook.Config(type="webhook", url=provider.url + HOOK_PATH))
    await destination.send(alert())
    ((_, _, headers, _),) = provider.requests
    assert "webhook-signature" not in headers
    assert headers["webhook-id"] == alert().alert_id
    await destination.close()


async def test_a_header_secret_cannot_add_headers(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret with a line break in it is refused, and not shown."""
    monkeypatch.setenv("TOKEN", "secretvalue\r\nX-Evil: 1")
    config = webhook.Config(
        type="webhook", url=provider.url + HOOK_PATH, headers={"Authorization": Secret("env", "TOKEN")}
    )
    destination = webhook.build("hook", config)
    with pytest.raises(Exception, match="control character") as caught:
        await destination.send(alert())
    assert "secretvalue" not in str(caught.value)
    assert provider.requests == []
    await destination.close()


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "example.com/hook",
        "https://user:pw@example.com/",
        "https://exa mple.com/",
        "https://example.com/\x00",
        "https://[::1",
        "http://localhost.example.com/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    """Only https goes to other machines; what is no plain URL is refused without being quoted."""
    with pytest.raises(ValueError, match=r".") as caught:
        checked_url(url)
    assert "example.com" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com/x?y=z", "http://127.0.0.1:80/", "http://localhost/x", "http://[::1]:8080/"]
)
def test_addresses_that_are_taken(url: str) -> None:
    """https anywhere, http on this machine."""
    assert checked_url(url) == url


def test_allow_http_is_the_users_choice() -> None:
    """Plain http to another machine needs the user's word."""
    fields = {"type": "webhook", "url": "http://10.0.0.1/hook"}
    with pytest.raises(ValidationError, match="allow_http"):
        webhook.Config.model_validate(fields)
    assert webhook.Config.model_validate(fields | {"allow_http": True}).allow_http


def test_mistakes_in_a_configuration_are_told() -> None:
    """A literal secret, a header of ours, a project that is no id: each is refused with what to write."""
    with pytest.raises(ValidationError, match="not written into the configuration"):
        slack.Config.model_validate({"type": "slack", "webhook_url": "https://hooks.slack.com/services/x"})
    with pytest.raises(ValidationError, match="set by ingestd itself"):
        webhook.Config.model_validate(
            {"type": "webhook", "url": "https://example.com/", "headers": {"Webhook-Id": "x"}}
        )
    with pytest.raises(ValidationError, match="project"):
        asana.Config.model_validate({"type": "asana", "token": {"env": "A"}, "project": "Alerts"})
    with pytest.raises(ValidationError, match="proxy_url"):
        HttpDestinationConfig.model_validate({"type": "x", "proxy_url": "socks5://localhost"})
