"""What CloudTrail tells of the signatures of its digest files: the signature itself, and the public keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ingestd.cloud import aws
from ingestd.errors import IngestdError
from ingestd.model import Check

MOST_KEYS = 200
MARGIN = timedelta(hours=1)


class TrailKeys:
    """Signatures and keys, as seen by one account."""

    def __init__(self, account: aws.Account) -> None:
        self._account = account
        self._clients: dict[str, aws.Clients] = {}
        self._keys: dict[tuple[str, str], bytes] = {}

    async def signature(self, bucket: str, key: str, region: str) -> str | None:
        """The signature that stands in the object's metadata, as hex digits; None where there is none."""
        client = await self._in(self._account.region or region).get("s3")
        try:
            answer: dict[str, Any] = await client.head_object(Bucket=bucket, Key=key)
        except Exception as error:
            raise aws.failure(error, "s3:GetObject", f"s3://{bucket}/{key}") from error
        found = answer.get("Metadata", {}).get("signature")
        return str(found) if found else None

    async def public_key(self, fingerprint: str, region: str, since: datetime, until: datetime) -> bytes | None:
        """The key with this fingerprint that was in use in that region then, in DER; None where AWS knows none."""
        if (region, fingerprint) not in self._keys:
            found = await self._listed(region, since - MARGIN, until + MARGIN)
            if len(self._keys) + len(found) > MOST_KEYS:
                self._keys.clear()
            self._keys |= {(region, name): value for name, value in found.items()}
        return self._keys.get((region, fingerprint))

    async def _listed(self, region: str, since: datetime, until: datetime) -> dict[str, bytes]:
        client = await self._in(region).get("cloudtrail")
        found: dict[str, bytes] = {}
        more: dict[str, str] = {}
        while True:
            try:
                answer = await client.list_public_keys(StartTime=since, EndTime=until, **more)
            except Exception as error:
                what = f"the public keys of CloudTrail in {region}"
                raise aws.failure(error, "cloudtrail:ListPublicKeys", what) from error
            found |= {key["Fingerprint"]: key["Value"] for key in answer.get("PublicKeyList", ())}
            if not answer.get("NextToken") or len(found) > MOST_KEYS:
                return found
            more = {"NextToken": answer["NextToken"]}

    async def check(self) -> Check:
        """Whether the public keys may be asked for; the region is the account's."""
        what, now = "cloudtrail:ListPublicKeys", datetime.now(UTC)
        try:
            await self._listed(self._account.region or aws.FALLBACK_REGION, now - MARGIN, now)
        except IngestdError as error:
            return Check(
                what=what, ok=False, detail=str(error), missing_permission=aws.missing_action(error, what) or ""
            )
        return Check(what=what, ok=True)

    def _in(self, region: str) -> aws.Clients:
        """Keys are kept in the region that signed with them."""
        if region not in self._clients:
            self._clients[region] = aws.Clients(msgspec.structs.replace(self._account, region=region))
        return self._clients[region]

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
        for clients in self._clients.values():
            await clients.close()
        self._clients.clear()
