"""Alerts to a Slack channel, through an incoming webhook.

Everything is sent as plain text with Slack's three characters escaped and links not unfolded: nothing in an event
can mention a channel, format the message or make Slack fetch a page.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.http import Http, HttpDestinationConfig, resolved_url
from ingestd.alerts.destinations.text import facts, pretty_context, printable, shorten
from ingestd.config.secrets import Secret
from ingestd.errors import IngestdError, Permanent
from ingestd.model import Alert, Check, Severity

_MARKS: dict[Severity, str] = {"INFO": "⚪", "LOW": "🔵", "MEDIUM": "🟡", "HIGH": "🟠", "CRITICAL": "🔴"}
_MAX_HEADER = 150
_MAX_SECTION = 2_900
"""Slack allows 3,000 characters in a section; escaped characters count as several."""
_MAX_FIELD = 400
_MAX_TEXT = 500
_EMPTY_MESSAGE_ANSWERS = {"no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"}


class Config(HttpDestinationConfig):
    """Alerts to a Slack channel, through an incoming webhook."""

    webhook_url: Secret
    """Where the webhook's URL is kept: whoever knows it can post."""
    context: bool = True
    """Whether to show the beginning of the alert's context."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """Alerts on the way at once. Slack takes one message per second and channel."""
    per_minute: Annotated[int, Field(ge=1)] = 60
    """Alerts sent per minute at most; the others wait. More than 60 is answered with "slow down"."""


class SlackDestination(Destination):
    """See the module."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config
        self._http = Http(name, config)

    async def send(self, alert: Alert) -> str:
        """See `Destination`. Slack names no reference."""
        body = msgspec.json.encode(message(alert, context=self._config.context))
        url = await resolved_url(self._config.webhook_url)
        answer = await self._http.request("POST", url, body=body, headers={"Content-Type": "application/json"})
        if not answer.ok:
            raise self._http.refusal(answer)
        if answer.whole and answer.text.strip() != "ok":
            raise Permanent(
                f"{self.name}: {answer.host} is not Slack, it answered: {answer.excerpt()}", reason="answer"
            )
        return ""

    async def check(self) -> list[Check]:
        """See `Destination`. An empty message is refused with another answer than an unknown webhook."""
        what = f"destination {self.name}: Slack webhook"
        try:
            url = await resolved_url(self._config.webhook_url)
            answer = await self._http.request("POST", url, body=b"{}", headers={"Content-Type": "application/json"})
        except IngestdError as error:
            return [Check(what=what, ok=False, detail=str(error))]
        if answer.ok or answer.text.strip() in _EMPTY_MESSAGE_ANSWERS:
            return [Check(what=what, ok=True)]
        return [Check(what=what, ok=False, detail=f"Slack answered {answer.status}: {answer.excerpt()}")]

    async def close(self) -> None:
        """See `Destination`."""
        await self._http.close()


def message(alert: Alert, *, context: bool = True) -> dict[str, Any]:
    """The webhook's payload."""
    title = f"{_MARKS[alert.severity]} {printable(alert.title, one_line=True)}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title, _MAX_HEADER)},
        {"type": "section", "fields": [_plain(f"{label}: {value}", _MAX_FIELD) for label, value in facts(alert)]},
    ]
    texts = [
        printable(alert.description),
        f"Runbook: {printable(alert.runbook)}" if alert.runbook else "",
        f"Reference: {printable(alert.reference)}" if alert.reference else "",
        pretty_context(alert, _MAX_SECTION) if context else "",
    ]
    blocks += [{"type": "section", "text": _plain(text, _MAX_SECTION)} for text in texts if text.strip()]
    return {
        "text": _escaped(f"{alert.severity}: {printable(alert.title, one_line=True)}", _MAX_TEXT),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "emoji": False, "text": _escaped(text, limit)}


def _escaped(text: str, limit: int) -> str:
    """Slack's control characters as entities, in at most `limit` characters with no entity cut in two."""
    escaped = [{"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(char, char) for char in shorten(text, limit)]
    room = limit - 1
    for position, part in enumerate(escaped):
        room -= len(part)
        if room < 0 and position < len(escaped) - 1:
            return "".join(escaped[:position]) + "…"
    return "".join(escaped)


def build(name: str, config: Config) -> SlackDestination:
    """See `base`."""
    return SlackDestination(name, config)
