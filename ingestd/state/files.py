"""Files: what a directory source remembers of each path that it has finished with.

Paths are the file system's bytes as `os.fsdecode` gives them. A signature is (device, inode, size, mtime_ns,
ctime_ns).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence

from ingestd.state.base import Transaction

Signature = tuple[int, int, int, int, int]

TABLES = (
    """
    CREATE TABLE files (
        source TEXT NOT NULL,
        path BLOB NOT NULL,
        signature BLOB NOT NULL,
        seen_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (source, path)
    )
    """,
    "CREATE INDEX files_by_signature ON files (source, signature)",
)

_PACKED = struct.Struct(">QQqqq")
_LARGEST = 2**63 - 1
_PATHS_PER_QUERY = 250
_LOOKUP = f"""
    SELECT path, signature FROM files
    WHERE source = :source AND path IN ({", ".join(f":p{n}" for n in range(_PATHS_PER_QUERY))})
"""  # noqa: S608 - names of parameters only
_REMEMBER = """
    INSERT INTO files VALUES (:source, :path, :signature, :seen_at)
    ON CONFLICT (source, path) DO UPDATE SET signature = excluded.signature, seen_at = excluded.seen_at
"""


def remember(tx: Transaction, source: str, signatures: Mapping[str, Signature], seen_at: float) -> None:
    """Note each path with its signature, in place of what was known. Idempotent."""
    tx.executemany(
        _REMEMBER,
        (
            {"source": source, "path": os.fsencode(path), "signature": _PACKED.pack(*signature), "seen_at": seen_at}
            for path, signature in signatures.items()
        ),
    )


def lookup_many(tx: Transaction, source: str, paths: Sequence[str]) -> dict[str, Signature]:
    """Signatures of those of the paths that are known."""
    known: dict[str, Signature] = {}
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        some = [os.fsencode(path) for path in paths[start : start + _PATHS_PER_QUERY]]
        some += some[-1:] * (_PATHS_PER_QUERY - len(some))
        params: dict[str, str | bytes] = {f"p{n}": path for n, path in enumerate(some)}
        params["source"] = source
        for path, signature in tx.execute(_LOOKUP, params):
            known[os.fsdecode(path)] = _PACKED.unpack(signature)
    return known


def of_inode(tx: Transaction, source: str, device: int, inode: int) -> list[str]:
    """Known paths under which this inode was seen last, some of which may be gone."""
    sql = "SELECT path FROM files WHERE source = :source AND signature BETWEEN :first AND :last"
    first, last = (_PACKED.pack(device, inode, least, least, least) for least in (0, _LARGEST))
    rows = tx.execute(sql, {"source": source, "first": first, "last": last})
    return [os.fsdecode(path) for (path,) in rows]


def known_after(tx: Transaction, source: str, after: str, limit: int) -> list[str]:
    """The next `limit` known paths in byte order: for walking through all of them, beginning with `after=""`."""
    sql = "SELECT path FROM files WHERE source = :source AND path > :after ORDER BY path LIMIT :limit"
    rows = tx.execute(sql, {"source": source, "after": os.fsencode(after), "limit": limit})
    return [os.fsdecode(path) for (path,) in rows]


def forget(tx: Transaction, source: str, paths: Iterable[str]) -> None:
    """Drop the paths, for instance those that are no longer there. Idempotent."""
    sql = "DELETE FROM files WHERE source = :source AND path = :path"
    tx.executemany(sql, ({"source": source, "path": os.fsencode(path)} for path in paths))
