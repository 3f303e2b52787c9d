"""The state in memory, with knobs that make it fail: for tests, and for runs that keep nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ingestd.errors import Retryable
from ingestd.state.base import Transaction
from ingestd.state.sqlite import SqliteState
from ingestd.state.sqlite_file import connect, migrate

T = TypeVar("T")


class MemoryState(SqliteState):
    """SQLite without a file. Set a knob to n to make the next n calls of `transact` fail."""

    fail_before_commit: int
    """These are rolled back."""
    fail_after_commit: int
    """These are committed, but their callers get an error all the same, as when a connection breaks."""

    def __init__(self) -> None:
        connection = connect(":memory:")
        migrate(connection, ":memory:")
        super().__init__(connection, None, ":memory:")
        self.fail_before_commit = 0
        self.fail_after_commit = 0

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `State`; fails when a knob says so."""
        if self.fail_before_commit > 0:
            self.fail_before_commit -= 1

            def fail(transaction: Transaction) -> T:
                work(transaction)
                raise Retryable("state :memory:: failed before the commit, as told")

            return await super().transact(fail)
        result = await super().transact(work)
        if self.fail_after_commit > 0:
            self.fail_after_commit -= 1
            raise Retryable("state :memory:: failed after the commit, as told")
        return result
