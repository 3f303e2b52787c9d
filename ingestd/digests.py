"""CloudTrail's digest files, verified: that the log files of an hour are there and as CloudTrail wrote them.

A digest names each log file with its hash, and the digest before it; it is signed by CloudTrail with a key whose
public half AWS tells. What does not agree is a row in `rejects` and an alert: somebody may have covered their tracks.
The algorithm is AWS's own, "Custom implementations of CloudTrail log file integrity validation".
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Protocol

import msgspec

from ingestd import rejects
from ingestd.errors import Permanent, Retryable
from ingestd.model import ChunkResult, Identity, Match, ObjectDone, ObjectRef, row_id, row_id_prefix
from ingestd.reading import BUSY_SECS, Commit, Shared
from ingestd.stores.base import Store
from ingestd.telemetry import occurrences

DETECTION_ID = "ingestd.CloudTrailDigest"
MOST_DIGEST_BYTES = 64 * 1024 * 1024
MOST_LOG_BYTES = 8 * 1024**3
PIECE_BYTES = 4 * 1024 * 1024
GZIP_WINDOW = 31
_REGION = re.compile(r"/CloudTrail-Digest/([a-z0-9-]+)/")
_URL = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)


class Keys(Protocol):
    """Where signatures and keys come from: `cloud.aws_trail.TrailKeys`."""

    async def signature(self, bucket: str, key: str, region: str) -> str | None:
        """See `TrailKeys`."""

    async def public_key(self, fingerprint: str, region: str, since: datetime, until: datetime) -> bytes | None:
        """See `TrailKeys`."""

    async def close(self) -> None:
        """See `TrailKeys`."""


class Finding(msgspec.Struct, frozen=True):
    """What does not agree: a word for the table, the object, and what was found."""

    reason: str
    url: str
    detail: str


class _LogFile(msgspec.Struct):
    bucket: str = msgspec.field(name="s3Bucket")
    key: str = msgspec.field(name="s3Object")
    digest: str = msgspec.field(name="hashValue")


class _Digest(msgspec.Struct):
    since: datetime = msgspec.field(name="digestStartTime")
    until: str = msgspec.field(name="digestEndTime")
    bucket: str = msgspec.field(name="digestS3Bucket")
    key: str = msgspec.field(name="digestS3Object")
    fingerprint: str = msgspec.field(name="digestPublicKeyFingerprint")
    logs: list[_LogFile] = msgspec.field(name="logFiles")
    previous_bucket: str | None = msgspec.field(name="previousDigestS3Bucket", default=None)
    previous_key: str | None = msgspec.field(name="previousDigestS3Object", default=None)
    previous_digest: str | None = msgspec.field(name="previousDigestHashValue", default=None)
    previous_signature: str | None = msgspec.field(name="previousDigestSignature", default=None)


class _Damaged(Exception):
    """The object's bytes are no gzip, or expand without end."""


class Digests:
    """Verifies the digests that the messages of one source name."""

    def __init__(
        self, source: str, keys: Keys, shared: Shared, keep: Callable[[ChunkResult], Awaitable[None]]
    ) -> None:
        self._source = source
        self._keys = keys
        self._shared = shared
        self._keep = keep
        self._giving_up: set[asyncio.Task[None]] = set()

    async def verify(self, url: str) -> Commit | None:
        """Verify a digest once; the future of its commit, None when it was verified before.

        Raises `Retryable` when something could not be read now."""
        identity = Identity(f"digest:{self._source}/{url}")
        claim = await self._shared.ledger.claim(identity, source=self._source, url=url)
        if claim.status == "busy":
            raise Retryable(f"{identity}: is being verified", retry_after=BUSY_SECS)
        if claim.status == "done":
            return None
        try:
            findings = await self.examine(url)
            records = claim.skip[-1][1] if claim.skip else len(findings)
            if findings and not claim.skip:  # else they were committed before somebody died
                await self._keep(self._result(identity, url, findings))
            first = f"{findings[0].url}: {findings[0].detail}" if findings else None
            occurrences.digest_verified(self._source, url, findings=len(findings), first=first)
            done = ObjectDone(task=0, records=records, plain_bytes=0, framing="digest")
            in_lake = self._shared.writer.finish(identity, done)
        except BaseException:
            await self._give_up(identity)
            raise
        in_lake.add_done_callback(lambda future: self._committed(identity, future))
        return in_lake

    def _committed(self, identity: Identity, in_lake: Commit) -> None:
        if in_lake.cancelled() or in_lake.exception() is not None:  # the next delivery may claim it
            giving_up = asyncio.ensure_future(self._give_up(identity))
            self._giving_up.add(giving_up)
            giving_up.add_done_callback(self._giving_up.discard)

    async def _give_up(self, identity: Identity) -> None:
        await self._shared.writer.leave(identity)
        await self._shared.ledger.release(identity)

    def _result(self, identity: Identity, url: str, findings: list[Finding]) -> ChunkResult:
        """A reject for each finding, and one alert for the digest."""
        result = rejects.of_findings(
            self._source, identity, [(one.reason, f"{one.url}: {one.detail}", one.url) for one in findings]
        )
        told = Match(
            kind="error",
            detection_id=DETECTION_ID,
            row_id=row_id(row_id_prefix(identity), 0),
            log_type="",
            event_time="",
            dedup=url,
            title=f"CloudTrail's files do not agree with their digest: {findings[0].url}: {findings[0].detail}",
            severity="CRITICAL",
            description=f"{len(findings)} findings in {url}; `ingestd rejects` lists them.",
            runbook="Find out who can write to the bucket and who did: log files or digests were changed or deleted.",
            context=msgspec.json.encode([msgspec.structs.asdict(one) for one in findings[:20]]).decode(),
        )
        return msgspec.structs.replace(result, matches=(told,))

    # --- what is examined -----------------------------------------------------------------------------------

    async def examine(self, url: str) -> list[Finding]:
        """All that does not agree with a digest; empty when all is well."""
        found = _URL.fullmatch(url)
        if found is None:
            return [Finding("digest_damaged", url, "is no address of an object in S3")]
        bucket, key = found[1], found[2]
        try:
            plain = await self._whole(bucket, key)
            digest = msgspec.json.decode(plain, type=_Digest)
            until = datetime.fromisoformat(digest.until)
        except (_Damaged, msgspec.DecodeError, ValueError) as error:
            return [Finding("digest_damaged", url, f"is no digest: {error}")]
        except Permanent as error:
            if error.reason != "not_found":
                raise
            return [Finding("digest_missing", url, "the digest was announced and is gone")]
        if (digest.bucket, digest.key) != (bucket, key):
            return [Finding("digest_moved", url, f"was written as s3://{digest.bucket}/{digest.key}")]
        wrong = await self._signature(digest, url, plain, until)
        if wrong is not None:
            return [wrong]  # nothing that it says can be relied on
        findings = [await self._previous(digest), *[await self._log(log) for log in digest.logs]]
        return [one for one in findings if one is not None]

    async def _signature(self, digest: _Digest, url: str, plain: bytes, until: datetime) -> Finding | None:
        region = _REGION.search(f"/{digest.key}")
        if region is None:
            return Finding("digest_damaged", url, "its key names no region")
        signature = await self._keys.signature(digest.bucket, digest.key, region[1])
        if signature is None:
            return Finding("digest_unsigned", url, "its metadata has no signature")
        key = await self._keys.public_key(digest.fingerprint, region[1], digest.since, until)
        if key is None:
            return Finding("digest_forged", url, f"CloudTrail has no key {digest.fingerprint[:64]}")
        signed = "\n".join(
            [
                digest.until,
                f"{digest.bucket}/{digest.key}",
                hashlib.sha256(plain).hexdigest(),
                digest.previous_signature or "null",
            ]
        )
        if not _is_signed(key, signature, signed.encode()):
            return Finding("digest_forged", url, "its signature does not fit its content")
        return None

    async def _previous(self, digest: _Digest) -> Finding | None:
        if digest.previous_bucket is None or digest.previous_key is None:
            return None  # the first of the trail
        return await self._compare(
            digest.previous_bucket, digest.previous_key, digest.previous_digest or "", "digest"
        )

    async def _log(self, log: _LogFile) -> Finding | None:
        return await self._compare(log.bucket, log.key, log.digest, "log")

    async def _compare(self, bucket: str, key: str, expected: str, what: str) -> Finding | None:
        """The plain bytes of an object against the hash that a digest has of it."""
        url, hasher = f"s3://{bucket}/{key}", hashlib.sha256()
        try:
            async for piece in self._plain(bucket, key, MOST_LOG_BYTES):
                await asyncio.to_thread(hasher.update, piece)
        except _Damaged as error:
            return Finding(f"{what}_changed", url, str(error))
        except Permanent as error:
            if error.reason != "not_found":
                raise
            return Finding(f"{what}_missing", url, "the digest names it, and it is gone")
        if hasher.hexdigest() != expected.lower():
            return Finding(f"{what}_changed", url, "its content is not what CloudTrail wrote")
        return None

    async def _whole(self, bucket: str, key: str) -> bytes:
        return b"".join([piece async for piece in self._plain(bucket, key, MOST_DIGEST_BYTES)])

    async def _plain(self, bucket: str, key: str, most: int) -> AsyncIterator[bytes]:
        """The plain bytes of a gzipped object."""
        store: Store = self._shared.stores["s3"]
        inflater, size = zlib.decompressobj(GZIP_WINDOW), 0
        async with await store.open(ObjectRef(store="s3", bucket=bucket, key=key)) as opened:
            async for stored in opened.chunks():
                while stored:
                    try:
                        piece = await asyncio.to_thread(inflater.decompress, stored, PIECE_BYTES)
                    except zlib.error as error:
                        raise _Damaged(f"is no gzip: {error}") from None
                    size += len(piece)
                    if size > most:
                        raise _Damaged(f"is larger than {most:,} bytes")
                    yield piece
                    stored = inflater.unconsumed_tail
        if not inflater.eof:
            raise _Damaged("is cut off")


def _is_signed(key: bytes, signature: str, signed: bytes) -> bool:
    """Whether RSA with SHA-256 (PKCS #1 v1.5) agrees. False for keys and signatures that are none."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        public = load_der_public_key(key)
        if not isinstance(public, RSAPublicKey):
            return False
        public.verify(bytes.fromhex(signature), signed, PKCS1v15(), SHA256())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
