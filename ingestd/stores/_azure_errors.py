"""What the errors of Azure's blob service mean: each with its own outcome, and a text that says what to do."""

from __future__ import annotations

from ingestd.cloud import azure
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Superseded

READER = "Storage Blob Data Reader"
"""The role that reading and listing need, on the account or the container."""
_GONE = frozenset({"BlobNotFound", "ResourceNotFound", "PathNotFound", "SnapshotNotFound"})
_NO_CONTAINER = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "FilesystemNotFound"})
_KEY_UNUSABLE = frozenset(
    {
        "KeyVaultAccessTokenCannotBeAcquired",
        "KeyVaultEncryptionKeyNotFound",
        "KeyVaultVaultNotFound",
        "EncryptionKeyDisabled",
    }
)
_BAD_NAME = frozenset({"InvalidUri", "InvalidResourceName", "OutOfRangeInput", "InvalidQueryParameterValue"})


class NothingThere(IngestdError):
    """The blob ends before the range that was asked for."""


def blob_failure(error: Exception, url: str) -> IngestdError:
    """The error to raise instead, for a call that reads or lists at `url`."""
    code, status = azure.code_of(error), azure.status_of(error)
    if code == "InvalidRange" or status == 416:
        return NothingThere(url)
    known = azure.common_failure(error, url)
    if known is not None:
        return known
    if azure.is_denied(error):
        return azure.refused_attempt(error, READER, url)
    if code in _NO_CONTAINER:
        return Permanent(f"{url}: there is no such container ({code})", reason="no_container")
    if code in _GONE or status == 404:
        return Permanent(f"{url}: no such blob; it was deleted before it was read", reason="not_found")
    if code == "ConditionNotMet" or status == 412:
        return Superseded(f"{url}: overwritten since it was announced")
    if code == "BlobArchived":
        text = "is archived; rehydrate it (Set Blob Tier), and the event BlobTierChanged has it read"
        return Permanent(f"{url}: {text}", reason="archived")
    if code == "BlobBeingRehydrated":
        text = "is being rehydrated; the event BlobTierChanged has it read when that is done"
        return Permanent(f"{url}: {text}", reason="archived")
    if code == "BlobUsesCustomerSpecifiedEncryption":
        return Permanent(f"{url}: is encrypted with a key that comes with each request", reason="customer_key")
    if code in _KEY_UNUSABLE:
        return AttemptFailed(f"{url}: its encryption key cannot be used now ({code})", reason="key_unusable")
    if code in _BAD_NAME:
        return Permanent(f"{url}: {code}", reason="bad_reference")
    return AttemptFailed(f"{url}: {code or status}: {azure.told(error)}", reason="azure_error")
