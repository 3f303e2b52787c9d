"""What a detection is made of beside its own files: the helpers that its code imports, and those that they import."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ingestd.detections.loading import textfile

_IMPORTS = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([\w., \t]+))", re.MULTILINE)


class HelperDigests:
    """Digests of global helpers, by the names that code imports. A name in a docstring may count as well: a version
    then changes once too often."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._helper = cache(self._read)

    def of(self, code: bytes) -> bytes:
        """Digest of all helpers that this code needs; empty if it needs none."""
        needed: set[str] = set()
        pending = self._imported(code)
        while pending:
            name = pending.pop()
            needed.add(name)
            pending |= self._helper(name)[1] - needed
        if not needed:
            return b""
        digest = hashlib.blake2b(digest_size=8)
        for name in sorted(needed):
            digest.update(name.encode() + b"\0" + self._helper(name)[0])
        return digest.digest()

    def _imported(self, code: bytes) -> set[str]:
        names: set[str] = set()
        for source, listed in _IMPORTS.findall(code):
            names.update(part.split()[0].decode() for part in (source, *listed.split(b",")) if part.strip())
        return {name.partition(".")[0] for name in names} & self._files.keys()

    def _read(self, name: str) -> tuple[bytes, set[str]]:
        """Digest of a helper's own text, and the helpers that it imports."""
        try:
            text = textfile.read(self._files[name])
        except OSError:
            text = b""  # told when it is imported
        return hashlib.blake2b(text, digest_size=8).digest(), self._imported(text)
