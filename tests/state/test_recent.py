"""The index in memory of messages finished a short while ago."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestd.state import recent
from ingestd.state.messages import DIGEST_BYTES, FinishedMessages, digest_of
from ingestd.state.recent import Recent


def batch(sequence: int, names: list[str], finished_at: float = 0.0) -> FinishedMessages:
    """A batch that finished these messages."""
    return FinishedMessages(sequence, b"".join(sorted(digest_of(name) for name in names)), finished_at)


@given(st.lists(st.lists(st.integers(0, 200).map(str), max_size=20), max_size=12))
def test_knows_exactly_the_messages_of_its_batches(names: list[list[str]]) -> None:
    """A message is in it when a batch had it, however the batches were merged."""
    index = Recent()
    for sequence, some in enumerate(names, 1):
        index = index.with_batches([batch(sequence, some)], oldest=0.0, limit=10_000)
    known = {name for some in names for name in some}
    assert {name for name in map(str, range(201)) if digest_of(name) in index} == known


def test_adding_a_batch_again_changes_nothing() -> None:
    """Batches up to the sequence reached are known."""
    index = Recent().with_batches([batch(1, ["a"]), batch(2, ["b"])], oldest=0.0, limit=100)
    assert index.with_batches([batch(1, ["a"]), batch(2, ["b"])], oldest=0.0, limit=100) == index


def test_a_batch_without_messages_is_no_trouble() -> None:
    """Nothing is in an empty index."""
    assert digest_of("a") not in Recent().with_batches([batch(1, [])], oldest=0.0, limit=100)


def test_forgets_what_is_older_than_the_window() -> None:
    """Once every message of a run is too old, the run is dropped."""
    index = Recent().with_batches([batch(1, ["a", "b", "c"], 10.0), batch(2, ["d"], 20.0)], oldest=0.0, limit=100)
    index = index.with_batches([batch(3, ["e"], 30.0)], oldest=15.0, limit=100)
    assert [name for name in "abcde" if digest_of(name) in index] == ["d", "e"]


def test_keeps_about_the_newest_when_there_are_too_many() -> None:
    """The number of messages is bounded; the oldest go first, the newest batch stays."""
    index = Recent()
    for sequence in range(1, 101):
        names = [f"{sequence}/{n}" for n in range(100)]
        index = index.with_batches([batch(sequence, names)], oldest=0.0, limit=1_000)
        assert digest_of(f"{sequence}/0") in index
    assert sum(len(run.digests) for run in index.runs) <= 1_000 * DIGEST_BYTES + 100 * DIGEST_BYTES
    assert digest_of("1/0") not in index


def test_few_runs_hold_many_batches() -> None:
    """Small batches are merged, so that a look-up stays cheap."""
    index = Recent()
    for sequence in range(1, 500):
        index = index.with_batches([batch(sequence, [str(sequence)])], oldest=0.0, limit=recent.RUN_DIGESTS)
    assert len(index.runs) < 12
