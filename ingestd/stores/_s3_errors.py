"""What S3's errors mean: each with its own outcome, and a text that says what to do."""

from __future__ import annotations

from ingestd.cloud import aws
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Superseded

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404", "MethodNotAllowed"})
"""`MethodNotAllowed` is S3's answer when the version asked for is a delete marker."""
_ELSEWHERE = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
    }
)
_KEY_UNUSABLE = frozenset({"KMS.DisabledException", "KMS.KMSInvalidStateException", "KMS.NotFoundException"})


def s3_failure(error: Exception, url: str, action: str) -> IngestdError:
    """The error to raise instead, for a call that needed `action` on `url`."""
    common = aws.common_failure(error, action, url)
    if common is not None:
        return common
    refused = _refused(error, url, action)
    if refused is not None:
        return refused
    code = aws.code_of(error)
    if code in _GONE:
        return Permanent(f"{url}: no such object; it was deleted before it was read", reason="not_found")
    if code == "NoSuchBucket":
        return Permanent(f"{url}: there is no such bucket", reason="no_bucket")
    if code == "PreconditionFailed" or aws.status_of(error) == 412:
        return Superseded(f"{url}: overwritten since it was announced")
    if code == "InvalidObjectState":
        return Permanent(
            f"{url}: is archived; restore it (s3:RestoreObject), and the restore's own notice has it read",
            reason="archived",
        )
    if code in _ELSEWHERE:
        return Permanent(
            f"{url}: the bucket is in {_region_of(error)}; set `region` of the source", reason="wrong_region"
        )
    if code in _KEY_UNUSABLE:
        return AttemptFailed(f"{url}: its KMS key cannot be used now: {error}", reason="kms_key_unusable")
    if code == "InvalidRequest" and "Server Side Encryption" in str(error):
        return Permanent(f"{url}: is encrypted with a key of the customer's own (SSE-C)", reason="customer_key")
    return AttemptFailed(f"{url}: {action}: {error}", reason="s3_error")


_OTHER_CAUSES = (
    " (or the object is gone, and s3:ListBucket is missing to tell;"
    " or readers of the bucket have to pay: `requester_pays`)"
)


def _refused(error: Exception, url: str, action: str) -> AttemptFailed | None:
    """Refusals are tried again before they count for good: policies and grants take effect late."""
    missing = aws.missing_action(error, action)
    if missing is None:
        return None
    if missing.startswith("kms:"):
        return AttemptFailed(
            f"{url}: not allowed; the permission {missing} on the object's KMS key is missing", reason="kms_forbidden"
        )
    hint = "" if action == "s3:ListBucket" else _OTHER_CAUSES
    return AttemptFailed(f"{url}: not allowed; the permission {missing} is missing{hint}", reason="forbidden")


def _region_of(error: Exception) -> str:
    response = getattr(error, "response", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "another region"
