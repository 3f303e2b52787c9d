"""Messages that are log events themselves: from the body of a message to the bytes that a child reads.

What is compressed stays compressed, as in an object. Queues that carry only text have such bodies in base64; a topic
on the way may have put its envelope around them.
"""

from __future__ import annotations

import base64
import binascii

from ingestd.notices import sns
from ingestd.notices._body import decode
from ingestd.notices.base import Ignored

_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xff\x06\x00\x00sNaPpY", b"\x04\x22\x4d\x18")
"""How gzip, zstd, framed snappy and lz4 begin."""
_DOCUMENT = (b"{", b"[", b"<")
"""How JSON and XML begin. Other text in base64 cannot be told from text that happens to look like it."""


def payload(body: bytes) -> bytes | Ignored:
    """The stored bytes of the events in a message, or why there are none. Never raises."""
    content = body
    if b'"TopicArn"' in body:
        document = decode(body)
        if (notice := sns.parse(document, {})) is not None:
            return notice.ignored[0]
        inner = sns.unwrap(document)
        content = body if inner is None else inner.encode(errors="replace")
    return _from_base64(content) or content


def _from_base64(content: bytes) -> bytes:
    """What is inside base64; empty when it is none, or nothing that events would be."""
    if content.startswith(_DOCUMENT):
        return b""
    try:
        data = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return b""
    return data if data.startswith(_COMPRESSED) or _is_document(data) else b""


def _is_document(data: bytes) -> bool:
    return data.lstrip().startswith(_DOCUMENT) and _is_text(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
