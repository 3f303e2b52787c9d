"""What `ingestd doctor` tries on a queue: every permission, without receiving, sending or decrypting anything.

Each action is asked for something that the service refuses after it looked at the permission.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ingestd.cloud import aws
from ingestd.errors import IngestdError, Permanent
from ingestd.model import Check

FEWEST_RECEIVES = 50
"""Kills, drains and lost leases use up receives too: a queue that gives up earlier sets good messages aside."""
AWS_OWN_KEY = "alias/aws/sqs"
"""The key that the queue's account has for SQS; whoever may use the queue may use it."""
_TOO_MANY_MESSAGES = 11
_TOO_LATE_SECS = 901
_KEY_UNUSABLE = ("DisabledException", "KMSInvalidStateException", "NotFoundException")
_NO_DIRECT_GRANT = "; where it is granted for calls by way of SQS alone (kms:ViaService), this cannot be tried"


class QueueChecks:
    """The checks of one queue and its dead-letter queue."""

    def __init__(self, clients: aws.Clients, queue_url: str, dead_letter_queue_url: str | None) -> None:
        self._clients = clients
        self._queue = queue_url
        self._dead_letters = dead_letter_queue_url

    async def all(self, role: str | None) -> list[Check]:
        """One for each action that is needed; `role` is the ARN of the one that is assumed."""
        bad = {"QueueUrl": self._queue, "ReceiptHandle": "ingestd-doctor"}
        checks = [await self._role(role)] if role is not None else []
        checks += [
            await self._try(
                "sqs:ReceiveMessage", "receive_message", QueueUrl=self._queue, MaxNumberOfMessages=_TOO_MANY_MESSAGES
            ),
            await self._try("sqs:DeleteMessage", "delete_message", **bad),
            await self._try("sqs:ChangeMessageVisibility", "change_message_visibility", VisibilityTimeout=0, **bad),
            *await self._attributes(),
        ]
        if self._dead_letters is not None:
            too_late = {"MessageBody": "-", "DelaySeconds": _TOO_LATE_SECS}
            checks.append(await self._try("sqs:SendMessage", "send_message", QueueUrl=self._dead_letters, **too_late))
            checks += await self._dead_letters_key(self._dead_letters)
        return checks

    async def _role(self, arn: str) -> Check:
        what = f"sts:AssumeRole on {arn}"
        try:
            await self._clients.credentials()
        except IngestdError as error:
            return _failed(what, error, "sts:AssumeRole")
        return Check(what=what, ok=True)

    async def _attributes(self) -> list[Check]:
        """Whether they may be read, and what they say."""
        what = f"sqs:GetQueueAttributes on {self._queue}"
        try:
            found = await self._read(self._queue, "RedrivePolicy", "KmsMasterKeyId")
        except IngestdError as error:
            return [_failed(what, error, "sqs:GetQueueAttributes")]
        receives = _receive_limit(found.get("RedrivePolicy"))
        if receives is not None and receives < FEWEST_RECEIVES:
            detail = f"it gives up after {receives} receives, and restarts count as such: set maxReceiveCount to 100"
            return [Check(what=what, ok=False, detail=detail), *await self._key(found, "kms:Decrypt")]
        return [Check(what=what, ok=True), *await self._key(found, "kms:Decrypt")]

    async def _dead_letters_key(self, url: str) -> list[Check]:
        """Sending needs both actions: SQS has a data key made, and proves that it can be had again."""
        try:
            found = await self._read(url, "KmsMasterKeyId")
        except IngestdError as error:
            if aws.missing_action(error, "") == "sqs:GetQueueAttributes":  # needed for nothing but this
                return [Check(what=f"the key of {url}", ok=True, detail=f"not tried: {error}")]
            return [_failed(f"sqs:GetQueueAttributes on {url}", error, "sqs:GetQueueAttributes")]
        return await self._key(found, "kms:GenerateDataKey", "kms:Decrypt")

    async def _key(self, attributes: dict[str, str], *actions: str) -> list[Check]:
        """Whether the key of one's own that encrypts a queue may be used."""
        key = attributes.get("KmsMasterKeyId", "")
        if not key or key.endswith(AWS_OWN_KEY):
            return []
        requests: dict[str, tuple[str, dict[str, Any]]] = {
            "kms:Decrypt": ("decrypt", {"DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
            "kms:GenerateDataKey": ("generate_data_key", {"KeySpec": "AES_256"}),
        }
        checks = []
        for action in actions:
            operation, request = requests[action]
            checks.append(await self._try(action, operation, KeyId=key, DryRun=True, **request))
        return checks

    async def _try(self, action: str, operation: str, **request: Any) -> Check:
        """Ask for what is refused anyway; what matters is whether it is refused for a missing permission."""
        service = action.partition(":")[0]
        what = f"{action} on {request.get('QueueUrl') or request['KeyId']}"
        try:
            client = await self._clients.get(service)
            await getattr(client, operation)(**request)
        except Exception as error:  # noqa: BLE001 - whatever happened is what doctor tells
            refused_for_the_request = (
                400 <= aws.status_of(error) < 500
                and aws.missing_action(error, action) is None
                and not aws.code_of(error).endswith(_KEY_UNUSABLE)
            )
            known = aws.common_failure(error, action, what) or no_such_queue(error, what)
            if known is not None or not refused_for_the_request:
                return _failed(what, known or aws.failure(error, action, what), action)
        return Check(what=what, ok=True)

    async def _read(self, url: str, *names: str) -> dict[str, str]:
        what = f"queue {url}"
        try:
            client = await self._clients.get("sqs")
            answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))
        except Exception as error:
            raise no_such_queue(error, what) or aws.failure(error, "sqs:GetQueueAttributes", what) from error
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes


def no_such_queue(error: Exception, what: str) -> Permanent | None:
    """The error to raise where a queue is not there; None for all others."""
    if aws.code_of(error).endswith(("NonExistentQueue", "QueueDoesNotExist")):
        return Permanent(f"{what}: does not exist, or not in this region and account", reason="no_queue")
    return None


def _failed(what: str, error: IngestdError, action: str) -> Check:
    missing = aws.missing_action(error, action) or ""
    detail = f"{error}{_NO_DIRECT_GRANT}" if missing.startswith("kms:") else str(error)
    return Check(what=what, ok=False, detail=detail, missing_permission=missing)


def _receive_limit(policy: str | None) -> int | None:
    """`maxReceiveCount` of a redrive policy."""
    if not policy:
        return None
    try:
        return int(msgspec.json.decode(policy)["maxReceiveCount"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
