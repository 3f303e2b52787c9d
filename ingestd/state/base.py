"""The contract of the state: one transactional SQL store behind ledger, alert windows, outbox and rules' keys.

The SQL lives beside this file by subject (`objects.py`, `batches.py`, `windows.py`, `outbox.py`, `kv.py`):
plain functions of a `Transaction`, in the SQL that SQLite and PostgreSQL share, with `:name` parameters.
A transaction over several subjects is one function passed to `transact`.
`tests/conformance/test_state.py` holds every state to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]


class Transaction(ABC):
    """Statements of one transaction; used only inside the function given to `transact`."""

    @abstractmethod
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement; its rows (of SELECT or RETURNING), else an empty list."""

    @abstractmethod
    def executemany(self, sql: str, params: Iterable[Mapping[str, Any]]) -> None:
        """Run one statement for each set of parameters."""


class State(ABC):
    """Durable, serialisable transactions for several processes.

    `transact(work)` runs `work` in a thread of the state's own, inside a transaction, and answers its result
    once the commit is durable against power loss. Calls that wait at the same time share one commit (each under
    its own savepoint: one that raises rolls back alone and raises at its caller). `work` may run more than once
    and must touch nothing but its transaction. Raises `Retryable` when the store is busy or unreachable.
    """

    @abstractmethod
    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """See the class."""

    @abstractmethod
    async def read(self, work: Callable[[Transaction], T]) -> T:
        """The same for statements that change nothing; sees all that was committed before the call."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what waits, then let go. Idempotent."""
