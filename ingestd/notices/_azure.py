"""Where a blob is, from what Azure says about it: account, container and name."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

MAX_NAME_CHARACTERS = 1024
_SUBJECT = re.compile(r"/blobServices/default/containers/([^/]+)/blobs/(.+)", re.DOTALL)
_TOPIC = re.compile(r"/storageAccounts/([a-z0-9]{3,24})$", re.IGNORECASE)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$root|\$web|\$logs|[a-z0-9](?:-?[a-z0-9]){2,62}")
_SERVICE_HOST = re.compile(r"([a-z0-9]{3,24})(?:-secondary)?(?:\.z\d+)?\.(?:blob|dfs)\.")
_PLAIN_HOST = re.compile(r"localhost|[\d.]+|[0-9a-f:]*:[0-9a-f:]+")
_LOST = "\ufffd"


class Blob(msgspec.Struct, frozen=True):
    """The place of a blob."""

    account: str
    path: str
    """Container, `/`, name of the blob; decoded."""
    version: str | None = None
    """`snapshot=…` or `versionid=…`, where one is named."""


def blob_at(url: str, *, topic: str = "", subject: str = "") -> Blob | None:
    """The blob of an event; None when it is not told where it is.

    `url` is on the blob or the DFS endpoint, or on a server with the account in the path, and may be encoded or not;
    `subject` is plain, but has replacement characters for what lies beyond the first plane of Unicode.
    """
    try:
        parts = urlsplit(url)
        host, query = parts.hostname or "", parse_qs(parts.query)
    except ValueError:
        return None
    account, path = _of_host(host, parts.path.lstrip("/"))
    if (named := _TOPIC.search(topic)) is not None:
        account = named[1].lower()
    path = _decoded(path)
    if (told := _SUBJECT.fullmatch(subject)) is not None and _LOST not in subject:
        path = f"{told[1]}/{told[2]}"
    container, _, name = path.partition("/")
    if not _ACCOUNT.fullmatch(account) or not _CONTAINER.fullmatch(container) or not _is_name(name):
        return None
    versions = [f"{kind.lower()}={at[0]}" for kind, at in query.items() if kind.lower() in {"snapshot", "versionid"}]
    return Blob(account, path, versions[0] if versions else None)


def _of_host(host: str, path: str) -> tuple[str, str]:
    """Account and path, where the account is in the host name, or before everything in the path."""
    if (service := _SERVICE_HOST.match(host)) is not None:
        return service[1], path
    if _PLAIN_HOST.fullmatch(host):
        account, _, rest = path.partition("/")
        return account, rest
    return "", path


def _decoded(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        return path


def _is_name(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return 0 < len(name) <= MAX_NAME_CHARACTERS
