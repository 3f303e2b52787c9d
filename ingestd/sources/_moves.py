"""Files that were renamed within their folder, as log rotation does: known by inode, read on and not again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ingestd.folder import Signature, printable, signature_now
from ingestd.model import ObjectRef
from ingestd.state import files, objects
from ingestd.state.base import State, Transaction

ASIDE = "./"
"""Before the identity of an object whose path another file has taken: no walk finds a path that begins so."""


def same_inode(one: files.Signature | None, other: files.Signature) -> bool:
    """Whether both are of one file, whatever was written to it between."""
    return one is not None and one[:2] == other[:2]


async def note_moves(
    state: State,
    source: str,
    root: str,
    found: Mapping[str, Signature],
    known: Mapping[str, files.Signature],
    now: float,
) -> None:
    """Of files `found` at paths where nothing, or by `known` another file, was: what was read of them under an
    earlier path counts for the new one. A file that still lies under the earlier path, too, has two names and is
    read under both. The file that was known there may lie under a path that is looked at later: what it was is put
    aside.
    """
    taken = {key: known[key] for key in found if key in known}

    def seen_before(tx: Transaction) -> dict[str, list[str]]:
        return {key: files.of_inode(tx, source, *signature[:2]) for key, signature in found.items()}

    before = {key: paths for key, paths in (await state.read(seen_before)).items() if paths} if found else {}
    if not before and not taken:
        return
    moves = await asyncio.to_thread(_left, root, before, found)

    def work(tx: Transaction) -> None:
        urls: dict[str, str] = {}
        for old, new in moves.items():
            if (identity := _identity(tx, root, old)) is not None:
                urls[identity] = _url(root, new)
        for key, signature in taken.items():
            if key not in moves and (identity := _identity(tx, root, key)) is not None:
                files.remember(tx, source, {ASIDE + identity: signature}, now)
        objects.move(tx, urls, now)
        files.forget(tx, source, moves)

    await state.transact(work)


def _left(root: str, before: Mapping[str, list[str]], found: Mapping[str, Signature]) -> dict[str, str]:
    """Old path → new path, of those old ones under which the file is no longer."""
    return {
        old: key
        for key, paths in before.items()
        for old in paths
        if old.startswith(ASIDE) or not same_inode(signature_now(root, old), found[key])
    }


def _identity(tx: Transaction, root: str, old: str) -> str | None:
    """The object that was read last at the path, or that was put aside."""
    if old.startswith(ASIDE):
        return old.removeprefix(ASIDE)
    row = objects.newest_at(tx, _url(root, old))
    return row.identity if row is not None else None


def _url(root: str, key: str) -> str:
    return printable(ObjectRef(store="file", bucket=root, key=key).url)
