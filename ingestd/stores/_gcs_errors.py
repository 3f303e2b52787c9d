"""What Cloud Storage's errors mean: each with its own outcome, and a text that says what to do."""

from __future__ import annotations

import json
from typing import Any

from ingestd.cloud.gcp import REFUSED_RETRY_SECS
from ingestd.errors import AttemptFailed, IngestdError, Overloaded, Permanent, Retryable, Superseded

READ, LIST = "storage.objects.get", "storage.objects.list"
VIEWER = "Storage Object Viewer"
BILL, CONSUMER = "serviceusage.services.use", "Service Usage Consumer"
_SLOWER = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"})
_KEY_OF_CUSTOMER = frozenset(
    {
        "resourceIsEncryptedWithCustomerEncryptionKey",
        "customerEncryptionKeyIsRequired",
        "customerEncryptionKeyRequired",
    }
)


class NothingThere(IngestdError):
    """The object ends before the range that was asked for."""


def gcs_failure(status: int, body: bytes, url: str, permission: str) -> IngestdError:
    """The error to raise for an answer to a request that needed `permission` on `url`."""
    reason, message = _told(body)
    if status == 416:
        return NothingThere(url)
    if status == 401:
        return Retryable(f"{url}: Google does not take our credentials: {message}", retry_after=REFUSED_RETRY_SECS)
    if status == 429 or reason in _SLOWER:
        return Overloaded(f"{url}: is asked to slow down ({reason or status})")
    if status == 408 or status >= 500:
        return Retryable(f"{url}: failed on the service's side ({status})")
    if status == 412:
        return Superseded(f"{url}: overwritten since it was announced")
    if reason in _KEY_OF_CUSTOMER:
        return Permanent(f"{url}: is encrypted with a key of the customer's own", reason="customer_key")
    if status == 400 and "requester pays" in message.lower():
        text = f"{url}: the readers of this bucket have to pay: set `billing_project`"
        return Permanent(text, reason="requester_pays")
    if "KMS" in message or "kms" in reason.lower():
        return AttemptFailed(f"{url}: its encryption key cannot be used: {message}", reason="key_unusable")
    if status == 403 and BILL in message:
        text = f"{url}: not allowed; the permission {BILL} on `billing_project` is missing, which {CONSUMER} has"
        return AttemptFailed(text, reason="billing_forbidden")
    if status == 403:
        text = f"{url}: not allowed; the permission {permission} is missing, which the role {VIEWER} has"
        return AttemptFailed(text, reason="forbidden")
    if status == 404 and "bucket does not exist" in message:
        return Permanent(f"{url}: there is no such bucket", reason="no_bucket")
    if status == 404:
        return Permanent(f"{url}: no such object; it was deleted before it was read", reason="not_found")
    return AttemptFailed(f"{url}: {permission}: {status}: {message or reason}", reason="gcs_error")


def _told(body: bytes) -> tuple[str, str]:
    """Reason and message; downloads answer with plain text."""
    try:
        error: Any = json.loads(body)["error"]
        errors = error.get("errors") or [{}]
        return str(errors[0].get("reason", "")), str(error.get("message", ""))[:300]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return "", body[:300].decode(errors="replace").strip()
