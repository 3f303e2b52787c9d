"""What the reverse proxy of the tests sees, in the words of Azure's queues and blobs."""

from __future__ import annotations

from tests.aws.proxy import Cut, Fault, Hold, Proxy, Refuse, Rule, Seen, in_front_of

__all__ = ["Cut", "Fault", "Hold", "Proxy", "Refuse", "Rule", "Seen", "in_front_of", "operation", "operations"]

_ON_MESSAGES = {"GET": "receive", "POST": "send", "PUT": "update", "DELETE": "delete"}


def operation(seen: Seen) -> str:
    """`receive`, `send`, `update`, `delete`, `peek`, `queue`; `read`, `head`, `list` for blobs."""
    path, _, query = seen.path.partition("?")
    if "/messages" in path:
        return "peek" if "peekonly" in query else _ON_MESSAGES[seen.method]
    if "comp=list" in query:
        return "list"
    if "comp=metadata" in query:
        return "queue"
    return {"GET": "read", "HEAD": "head"}.get(seen.method, seen.method)


def operations(proxy: Proxy, wanted: str) -> list[Seen]:
    """The requests of this operation, in order."""
    return [seen for seen in proxy.seen if operation(seen) == wanted]
