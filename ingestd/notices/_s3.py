"""What all notices about S3 objects have in common: is there something to read under this key?"""

from __future__ import annotations

import re

from ingestd.model import ObjectRef
from ingestd.notices.base import Ignored

MAX_KEY_BYTES = 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_DIGEST = re.compile(r"(?:^|/)AWSLogs/(?:o-[a-z0-9]+/)?\d{12}/CloudTrail-Digest/")
_TEST_OBJECTS = ("ELBAccessLogTestFile", "ConfigWritabilityCheckFile")
"""Written by AWS services to try out whether they may write; no logs."""


def object_or_ignored(
    bucket: str, key: str, *, size: int | None = None, etag: str | None = None, version: str | None = None
) -> ObjectRef | Ignored | None:
    """The object to read, or why there is nothing to read; None when no bucket or object can have this name.

    `key` is the plain key, decoded. A missing size is unknown, which is not 0.
    """
    if not _is_key(key) or not _BUCKET.fullmatch(bucket):
        return None
    reason = _nothing_to_read(key, size)
    if reason is not None:
        return Ignored(reason=reason, key=f"s3://{bucket}/{key}")
    return ObjectRef(
        store="s3",
        bucket=bucket,
        key=key,
        size=size,
        etag=(etag or "").strip('"') or None,
        version=version if version and version != "null" else None,
    )


def _nothing_to_read(key: str, size: int | None) -> str | None:
    if key.endswith("/") and not size:
        return "folder"
    if key.endswith(_TEST_OBJECTS):
        return "test_object"
    if _DIGEST.search(key):
        return "cloudtrail_digest"
    return "empty" if size == 0 else None


def _is_key(key: str) -> bool:
    try:
        return 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False
