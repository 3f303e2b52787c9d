"""Alerts as tasks in an Asana project.

Asana has no key against repeats for personal access tokens (external ids need OAuth), but it can be asked: the
task's name ends with the start of the alert id, and before a task is made, the project's tasks that changed since
the alert was raised are searched for it.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from pydantic import AfterValidator

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.http import Answer, Http, HttpDestinationConfig, HttpUrl, resolved
from ingestd.alerts.destinations.text import facts, pretty_context, printable, shorten, timestamp
from ingestd.config.secrets import Secret
from ingestd.errors import IngestdError, Retryable
from ingestd.model import Alert, Check

_MAX_NAME = 250
_MAX_NOTES = 30_000
_MAX_CONTEXT = 20_000
_MARK_CHARS = 12
_PAGE = 100
_MAX_PAGES = 20
_MAX_PAGE_BYTES = 1_048_576
_CLOCK_MARGIN_SECS = 600.0
_TOKEN_HINT = "a personal access token of a user who can edit the project"  # noqa: S105 - advice, no token


def _gid_text(gid: str) -> str:
    if not gid.isascii() or not gid.isdigit():
        raise ValueError("an id of Asana's is a long number, as in the address of the project or user")
    return gid


Gid = Annotated[str, AfterValidator(_gid_text)]
"""Asana's id of something."""


class Config(HttpDestinationConfig):
    """Alerts as tasks in an Asana project."""

    token: Secret
    """Where a personal access token is kept."""
    project: Gid
    """Id of the project: the long number in its address."""
    assignee: Gid | None = None
    """Id of the user to assign tasks to."""
    url: HttpUrl = "https://app.asana.com/api/1.0"
    """Base address of the API."""


class AsanaDestination(Destination):
    """See the module. Exactly once as long as fewer than 2,000 tasks of the project change between two attempts."""

    exactly_once = True

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config
        self._http = Http(name, config)

    async def send(self, alert: Alert) -> str:
        """See `Destination`. The reference is the task's id."""
        found = await self._find(alert)
        if found is not None:
            return found
        task: dict[str, Any] = {
            "name": task_name(alert),
            "notes": task_notes(alert),
            "projects": [self._config.project],
        }
        if self._config.assignee is not None:
            task["assignee"] = self._config.assignee
        answer = await self._call("POST", "/tasks", body=msgspec.json.encode({"data": task}))
        return _gid(_data(answer))

    async def check(self) -> list[Check]:
        """See `Destination`."""
        what = f"destination {self.name}: Asana project {self._config.project}"
        try:
            await self._call("GET", f"/projects/{self._config.project}?opt_fields=name")
        except IngestdError as error:
            return [Check(what=what, ok=False, detail=str(error), missing_permission=_TOKEN_HINT)]
        return [Check(what=what, ok=True)]

    async def close(self) -> None:
        """See `Destination`."""
        await self._http.close()

    async def _find(self, alert: Alert) -> str | None:
        """The task that an earlier attempt made, if any."""
        mark = _mark(alert)
        query = {
            "project": self._config.project,
            "modified_since": timestamp(alert.created_at - _CLOCK_MARGIN_SECS),
            "opt_fields": "name",
            "limit": str(_PAGE),
        }
        for _ in range(_MAX_PAGES):
            answer = await self._call("GET", f"/tasks?{urlencode(query)}", max_bytes=_MAX_PAGE_BYTES)
            tasks = _data(answer)
            for task in tasks if isinstance(tasks, list) else []:
                if isinstance(task, dict) and str(task.get("name", "")).endswith(mark):
                    return _gid(task)
            offset = _next_offset(answer)
            if not offset:
                return None
            query["offset"] = offset
        return None

    async def _call(self, method: str, path: str, *, body: bytes | None = None, max_bytes: int = 65_536) -> Answer:
        headers = {"Authorization": f"Bearer {await resolved(self._config.token)}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = self._config.url.rstrip("/") + path
        answer = await self._http.request(method, url, body=body, headers=headers, max_bytes=max_bytes)
        if not answer.ok:
            raise self._http.refusal(answer, _complaint(answer))
        if method == "GET" and "data" not in _decoded(answer):
            raise Retryable(f"{self.name}: the answer of {answer.host} was cut, or is not Asana's")
        return answer


def _mark(alert: Alert) -> str:
    return f"[{alert.alert_id[:_MARK_CHARS]}]"


def task_name(alert: Alert) -> str:
    """The task's name: severity, title, start of the alert id."""
    title = printable(alert.title, one_line=True)
    mark = _mark(alert)
    return f"{shorten(f'{alert.severity}: {title}', _MAX_NAME - len(mark) - 1)} {mark}"


def task_notes(alert: Alert) -> str:
    """The task's description, as plain text: Asana renders no markup in it."""
    parts = [
        "\n".join(f"{label}: {value}" for label, value in facts(alert)),
        printable(alert.description),
        f"Runbook: {printable(alert.runbook)}" if alert.runbook else "",
        f"Reference: {printable(alert.reference)}" if alert.reference else "",
        pretty_context(alert, _MAX_CONTEXT),
    ]
    return shorten("\n\n".join(part for part in parts if part.strip()), _MAX_NOTES)


def _decoded(answer: Answer) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _data(answer: Answer) -> Any:
    return _decoded(answer).get("data")


def _gid(task: Any) -> str:
    gid = task.get("gid") if isinstance(task, dict) else None
    return gid if isinstance(gid, str) else ""


def _next_offset(answer: Answer) -> str:
    page = _decoded(answer).get("next_page")
    offset = page.get("offset") if isinstance(page, dict) else None
    return offset if isinstance(offset, str) else ""


def _complaint(answer: Answer) -> str:
    """What Asana says is wrong; empty when it does not say it in its usual form."""
    errors = _decoded(answer).get("errors")
    said = (
        [str(error.get("message", "")) for error in errors if isinstance(error, dict)]
        if isinstance(errors, list)
        else []
    )
    return shorten("; ".join(said), 500)


def build(name: str, config: Config) -> AsanaDestination:
    """See `base`."""
    return AsanaDestination(name, config)
