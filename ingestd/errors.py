"""One small tree of errors, named by what the caller does next.

    IngestdError
    ├── Retryable        try again later, with back-off (a lease lost, a server busy, a broken connection)
    │   ├── Overloaded   slow down: the other side asked for it, perhaps saying for how long
    │   └── AttemptFailed  the object's own error, which may pass: counted, dead-lettered after `max_attempts`
    ├── Permanent        never try again: reject the object, dead-letter the message
    │   ├── Superseded   the content asked for is gone, newer content lies in its place
    │   └── BatchRefused the ledger will not take a batch: someone else has, or committed, some of its records
    └── ConfigError      the user must change a file; carries every problem found, each with its place

`RuleTimeout` stands outside the tree: it derives from BaseException so that a rule's own
`except Exception` does not swallow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class IngestdError(Exception):
    """Base of everything that ingestd raises on purpose."""


class Retryable(IngestdError):
    """The same call may succeed later. `retry_after` is in seconds, when the other side said it."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Retryable):
    """The other side, or a bound of ours, asks to slow down."""


class AttemptFailed(Retryable):
    """This object or message failed by itself and may yet succeed. Counted in the ledger."""

    def __init__(self, message: str, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason = reason


class Permanent(IngestdError):
    """The same call will never succeed. `reason` is a short snake_case word for metrics and tables."""

    def __init__(self, message: str, *, reason: str = "permanent") -> None:
        super().__init__(message)
        self.reason = reason


class Superseded(Permanent):
    """The object was overwritten before it was read; what lies there now has another identity."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="superseded")


class Problem:
    """One mistake in a user's file: where it is, what is wrong, what to write instead."""

    __slots__ = ("file", "hint", "line", "message", "path")

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        path: str = "",
        hint: str = "",
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{path}{self.message}{hint}"

    def __repr__(self) -> str:
        return f"Problem({self!s})"


class BatchRefused(Permanent):
    """The batch must not be committed as it is. `identities` maps each object that stands in the way to why:
    its claim is not ours (any more), or the ordinals are committed or in another batch. Without them it may pass."""

    def __init__(self, identities: Mapping[str, str]) -> None:
        shown = [f"{identity} ({why})" for identity, why in list(identities.items())[:3]]
        more = f" and {len(identities) - 3} more" if len(identities) > 3 else ""
        super().__init__(f"the batch is refused because of {', '.join(shown)}{more}", reason="batch_refused")
        self.identities = dict(identities)


class ConfigError(IngestdError):
    """The configuration, a schema or a detection is wrong. Carries all problems, not the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class RuleTimeout(BaseException):
    """Raised inside a rule that used up its time. BaseException: `except Exception` must not catch it."""
