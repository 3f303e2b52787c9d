"""Alerts to PagerDuty, by its Events API v2. The alert id is the deduplication key: a repeat opens no second one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.http import Answer, Http, HttpDestinationConfig, HttpUrl, resolved
from ingestd.alerts.destinations.text import document, encode_within, printable, shorten, timestamp
from ingestd.config.secrets import Secret
from ingestd.errors import IngestdError
from ingestd.model import Alert, Check, Severity

SEVERITIES: dict[Severity, str] = {
    "INFO": "info",
    "LOW": "info",
    "MEDIUM": "warning",
    "HIGH": "error",
    "CRITICAL": "critical",
}
_MAX_SUMMARY = 1_024
_MAX_BODY_BYTES = 480_000
"""PagerDuty takes 512 KB."""
_CHECK_KEY = "ingestd-check"


class Config(HttpDestinationConfig):
    """Alerts to PagerDuty, by its Events API v2."""

    routing_key: Secret
    """Where the integration key of the service or the orchestration is kept."""
    url: HttpUrl = "https://events.pagerduty.com/v2/enqueue"
    """Endpoint. For accounts in the EU: `https://events.eu.pagerduty.com/v2/enqueue`."""
    source: str = "ingestd"
    """What PagerDuty shows as the affected system."""
    per_minute: Annotated[int, Field(ge=1)] = 120
    """Alerts sent per minute at most; the others wait."""


class PagerDutyDestination(Destination):
    """See the module."""

    exactly_once = True

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config
        self._http = Http(name, config)

    async def send(self, alert: Alert) -> str:
        """See `Destination`. The reference is the deduplication key."""
        content = event(alert, await resolved(self._config.routing_key), self._config.source)
        answer = await self._post(
            encode_within(content, _MAX_BODY_BYTES, context=["payload", "custom_details", "context"])
        )
        if not answer.ok:
            raise self._http.refusal(answer, _complaint(answer))
        return alert.alert_id

    async def check(self) -> list[Check]:
        """See `Destination`. Resolving an alert that does not exist tries the key and tells nobody."""
        what = f"destination {self.name}: PagerDuty integration key"
        try:
            key = await resolved(self._config.routing_key)
            resolve = {"routing_key": key, "event_action": "resolve", "dedup_key": _CHECK_KEY}
            answer = await self._post(msgspec.json.encode(resolve))
        except IngestdError as error:
            return [Check(what=what, ok=False, detail=str(error))]
        detail = "" if answer.ok else str(self._http.refusal(answer, _complaint(answer)))
        return [Check(what=what, ok=answer.ok, detail=detail)]

    async def close(self) -> None:
        """See `Destination`."""
        await self._http.close()

    async def _post(self, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        return await self._http.request("POST", self._config.url, body=body, headers=headers)


def event(alert: Alert, routing_key: str, source: str) -> dict[str, Any]:
    """The trigger event of an alert."""
    details = document(alert)
    title = printable(alert.title, one_line=True)
    links = [
        {"href": value, "text": label}
        for label, value in (("Runbook", alert.runbook), ("Reference", alert.reference))
        if value.startswith(("https://", "http://")) and value.isprintable() and " " not in value
    ]
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": alert.alert_id,
        "client": "ingestd",
        "links": links,
        "payload": {
            "summary": shorten(f"{alert.severity}: {title}", _MAX_SUMMARY),
            "source": source,
            "severity": SEVERITIES[alert.severity],
            "timestamp": timestamp(alert.created_at),
            "component": shorten(", ".join(alert.log_types), _MAX_SUMMARY),
            "group": alert.kind,
            "class": shorten(printable(alert.detection_id, one_line=True), _MAX_SUMMARY),
            "custom_details": details,
        },
    }


def _complaint(answer: Answer) -> str:
    """What PagerDuty says is wrong with an event; empty when it does not say it in its usual form."""
    try:
        said = msgspec.json.decode(answer.body)
        parts = [str(said["message"]), *(str(error) for error in said.get("errors") or [])]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return ""
    return shorten("; ".join(parts), _MAX_SUMMARY)


def build(name: str, config: Config) -> PagerDutyDestination:
    """See `base`."""
    return PagerDutyDestination(name, config)
