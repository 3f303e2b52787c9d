"""Which messages were finished a short while ago: an index in memory over the ledger's digests."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from ingestd.state.messages import DIGEST_BYTES, FinishedMessages

RUN_DIGESTS = 65_536
"""Runs are merged up to this size: more would keep the event loop waiting, less makes look-ups slow."""


class _Run(msgspec.Struct, frozen=True):
    digests: bytes
    """Sorted."""
    newest: float

    def __contains__(self, digest: bytes) -> bool:
        found = DIGEST_BYTES * bisect_left(
            range(len(self.digests) // DIGEST_BYTES),
            digest,
            key=lambda at: self.digests[DIGEST_BYTES * at : DIGEST_BYTES * (at + 1)],
        )
        return self.digests[found : found + DIGEST_BYTES] == digest


class Recent(msgspec.Struct, frozen=True):
    """The messages finished up to the batch `sequence`. Never changes: `with_batches` makes the next one."""

    sequence: int = 0
    runs: tuple[_Run, ...] = ()

    def __contains__(self, digest: bytes) -> bool:
        return any(digest in run for run in self.runs)

    def with_batches(self, batches: list[FinishedMessages], oldest: float, limit: int) -> Recent:
        """The same with more batches, without those all of whose messages were finished before `oldest`, and
        with no more than about the newest `limit` messages."""
        runs = [run for run in self.runs if run.newest >= oldest]
        sequence = self.sequence
        for batch in batches:
            if batch.sequence > sequence:
                sequence = batch.sequence
                runs.append(_Run(batch.digests, batch.finished_at))
                _merge_last(runs)
        excess = sum(len(run.digests) for run in runs) - limit * DIGEST_BYTES
        while excess > 0 and len(runs) > 1:
            excess -= len(runs.pop(0).digests)
        return Recent(sequence, tuple(runs))


def _merge_last(runs: list[_Run]) -> None:
    """Merge the last runs while they are of similar size, so that there are few of them."""
    while len(runs) > 1:
        one, other = runs[-2], runs[-1]
        size = (len(one.digests) + len(other.digests)) // DIGEST_BYTES
        if len(one.digests) > 2 * len(other.digests) or size > RUN_DIGESTS:
            return
        both = one.digests + other.digests
        digests = sorted(both[at : at + DIGEST_BYTES] for at in range(0, len(both), DIGEST_BYTES))
        runs[-2:] = [_Run(b"".join(digests), other.newest)]
