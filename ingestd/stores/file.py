"""Files of a folder, read as they were at one moment.

The identity is the path and the hash of the content, so that touching a file, or writing the same bytes over
it, changes nothing. Only regular files inside the folder are read: a link that leads out of it, a pipe or a
device is refused. What is appended while a file is read belongs to its next identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import msgspec

from ingestd.errors import Permanent, Retryable, Superseded
from ingestd.folder import Signature, open_regular, printable, walk
from ingestd.model import Check, Growth, Identity, ObjectRef
from ingestd.stores.base import ListedObject, OpenObject, Store

PIECE_BYTES = 1024 * 1024
WHOLE_BYTES = 256 * 1024
"""Up to this size a file is read once, hashed and kept; beyond it is hashed first and then streamed."""
KNOWN_DIGESTS = 10_000
"""Digests remembered by file signature, so that a file which another daemon is reading is not hashed again."""


def identity_of(path: str, digest: str) -> Identity:
    """Identity of a file by its path and the hex digest of its content."""
    return Identity(f"file:{printable(path)}#{digest}")


class FileObject(OpenObject):
    """A file under reading. Holds its descriptor (or, when small, its bytes) until closed."""

    may_grow = True

    def __init__(self, ref: ObjectRef, path: str, descriptor: int, size: int) -> None:
        self.ref = ref
        self.size = size
        self.origin = {"path": printable(path)}
        self.digest = ""
        self._path = path
        self._descriptor = descriptor
        self._whole: bytes | None = None
        self._offset = 0

    def identify(self, growth: Growth | None, known_digest: str | None) -> None:
        """Hash the content and derive the identity; runs in a thread."""
        if known_digest is not None and growth is None:
            self.digest = known_digest
        else:
            hasher = hashlib.sha256()
            prefix_digest = None
            for piece in self._pieces_for_hashing(growth.size if growth else None):
                hasher.update(piece)
                if growth is not None and prefix_digest is None and self._hashed >= growth.size:
                    prefix_digest = hasher.hexdigest()
            self.digest = hasher.hexdigest()
            if growth is not None and growth.identity.endswith(f"#{prefix_digest}"):
                self.grown_from = Identity(growth.identity)  # under another path when it was moved meanwhile
        self.identity = identity_of(self._path, self.digest)
        if self.grown_from == self.identity:
            self.grown_from = None
        self.ref = msgspec.structs.replace(self.ref, size=self.size, etag=self.digest, growth=None)

    def _pieces_for_hashing(self, cut_at: int | None) -> Iterator[bytes]:
        """The content in pieces, with a piece that ends exactly at `cut_at`."""
        assert self.size is not None
        keep = bytearray() if self.size <= WHOLE_BYTES else None
        self._hashed = 0
        while self._hashed < self.size:
            end = cut_at if cut_at is not None and self._hashed < cut_at <= self.size else self.size
            piece = os.pread(self._descriptor, min(PIECE_BYTES, end - self._hashed), self._hashed)
            if not piece:
                raise Retryable(f"{self._path}: the file became shorter while it was read")
            self._hashed += len(piece)
            if keep is not None:
                keep += piece
            yield piece
        if keep is not None:
            self._whole = bytes(keep)

    def start_at(self, offset: int) -> None:
        """Let `chunks` begin at this byte."""
        self._offset = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`. Raises `Superseded` when the bytes are no longer those of the identity."""
        if self._whole is not None:
            for start in range(self._offset, len(self._whole), PIECE_BYTES):
                yield self._whole[start : start + PIECE_BYTES]
            return
        hasher = hashlib.sha256() if self._offset == 0 else None
        position = self._offset
        assert self.size is not None
        while position < self.size:
            wanted = min(PIECE_BYTES, self.size - position)
            piece = await asyncio.to_thread(self._read_and_hash, wanted, position, hasher)
            if not piece:
                raise Superseded(f"{self._path}: the file became shorter while it was read")
            position += len(piece)
            if position == self.size and hasher is not None and hasher.hexdigest() != self.digest:
                raise Superseded(f"{self._path}: the file was changed while it was read")
            yield piece

    def _read_and_hash(self, size: int, position: int, hasher: hashlib._Hash | None) -> bytes:
        piece = os.pread(self._descriptor, size, position)
        if hasher is not None:
            hasher.update(piece)
        return piece

    async def close(self) -> None:
        """See `OpenObject`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._whole = None


class FileStore(Store):
    """Reads `ref.key` (a path relative to the folder `ref.bucket`)."""

    name = "file"
    objects_grow = True

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[str, Signature], str] = OrderedDict()

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> FileObject:
        """See `Store`. Reasons: `not_found`, `forbidden`, `not_a_file`, `outside`, `superseded`.

        With `ref.etag`, the hash of the content, the first `ref.size` bytes are the object, whatever was appended
        since. `ref.size` alone is what somebody saw before, and binds nobody.
        """
        return await asyncio.to_thread(self._open, ref, offset)

    def _open(self, ref: ObjectRef, offset: int) -> FileObject:
        path = confined_path(ref)
        descriptor, status = open_regular(path)
        try:
            _check_still_confined(ref, descriptor)
            opened = FileObject(ref, path, descriptor, _pinned_size(ref, status.st_size))
            opened.modified = status.st_mtime
            self._identify(opened, ref, path, status)
        except BaseException:
            os.close(descriptor)
            raise
        opened.start_at(offset)
        return opened

    def _identify(self, opened: FileObject, ref: ObjectRef, path: str, status: os.stat_result) -> None:
        signature = Signature.of(status)
        is_all = opened.size == status.st_size
        known = self._digests.get((path, signature)) if is_all and status.st_size > WHOLE_BYTES else None
        opened.identify(ref.growth, known)
        if ref.etag is not None and opened.digest != ref.etag:
            raise Superseded(f"{path}: the file was overwritten")
        if is_all:
            self._remember_digest(path, signature, opened.digest)

    def _remember_digest(self, path: str, signature: Signature, digest: str) -> None:
        self._digests[path, signature] = digest
        while len(self._digests) > KNOWN_DIGESTS:
            self._digests.popitem(last=False)

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`."""
        for key, status in walk(bucket):
            if key.startswith(prefix) and key > start_after:
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                ref = ObjectRef(store=self.name, bucket=bucket, key=key, size=status.st_size)
                yield ListedObject(ref=ref, last_modified=modified)

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`."""
        readable = os.access(bucket, os.R_OK | os.X_OK)
        detail = "" if readable else f"{bucket} is not a folder that this user may list and read"
        return [Check(what=f"read files in {bucket}", ok=readable, detail=detail, missing_permission="r-x")]

    async def close(self) -> None:
        """See `Store`."""
        self._digests.clear()


def confined_path(ref: ObjectRef) -> str:
    """Absolute path of the object; refuses whatever leads out of the folder, links included."""
    root = os.path.realpath(ref.bucket)
    path = os.path.realpath(os.path.join(root, ref.key))
    if os.path.commonpath([root, path]) != root:
        raise Permanent(f"{ref.url}: leads out of the folder {root}", reason="outside")
    return path


def _check_still_confined(ref: ObjectRef, descriptor: int) -> None:
    """Refuses what lies outside the folder: a folder on the way may have been swapped for a link before it was
    opened. Raises `Retryable` when the kernel does not say where the file lies."""
    root = os.path.realpath(ref.bucket)
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError as error:
        raise Retryable(f"{ref.url}: cannot see where the file lies ({error.strerror}): is /proc there?") from error
    if os.path.commonpath([root, path]) != root:
        raise Permanent(f"{ref.url}: leads out of the folder {root}", reason="outside")


def _pinned_size(ref: ObjectRef, size: int) -> int:
    """How much of a file of `size` bytes is the object that `ref` names."""
    if ref.etag is None or ref.size is None:
        return size
    if size < ref.size:
        raise Superseded(f"{ref.url}: the file became shorter")
    return ref.size


def build() -> FileStore:
    """The store of local files."""
    return FileStore()
