"""One object under way in a child: which of its ordinals are worked on, which are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from ingestd.model import Range, Span
from ingestd.workers.contracts import Decoder, Session
from ingestd.workers.frames import Open

Outcome = Literal["ok", "unclassified", "invalid", "filtered", "skipped"]

_STRIDE: Final = 512
"""Records between two looks at whether a result is due."""


class Reading:
    """The state of one object. Ordinals `[first, next)` are worked on and in no result yet."""

    __slots__ = (
        "_marks",
        "_outcomes",
        "_spans",
        "careful_until",
        "decoder",
        "first",
        "flush_seconds",
        "next",
        "ok",
        "session",
        "skip_calls",
        "task",
    )

    def __init__(self, opening: Open, decoder: Decoder, session: Session) -> None:
        self.task = opening.task
        self.careful_until = opening.careful_until
        self.flush_seconds = opening.flush_seconds
        self.decoder = decoder
        self.session = session
        self.first = self.next = opening.task.first_ordinal
        self.ok: dict[str, int] = {}
        """Log type → records that became events, since the last result."""
        self._spans: list[Span] = []
        self._outcomes: dict[tuple[str, Outcome], int] = {}
        self.skip_calls: dict[int, frozenset[str]] = {}
        for ordinal, rule in opening.task.skip_calls:
            self.skip_calls[ordinal] = self.skip_calls.get(ordinal, frozenset()) | {rule}
        self._marks = sorted({*opening.task.skip_records, *self.skip_calls})

    def count(self, log_type: str, outcome: Outcome, records: int = 1) -> None:
        """Count records that did not become events."""
        self._outcomes[log_type, outcome] = self._outcomes.get((log_type, outcome), 0) + records

    def take_counts(self) -> dict[tuple[str, Outcome], int]:
        """(log type, outcome) → records since the last call."""
        for log_type, records in self.ok.items():
            self.count(log_type, "ok", records)
        self.ok.clear()
        counted, self._outcomes = self._outcomes, {}
        return counted

    def is_marked(self, ordinal: int) -> bool:
        """Whether this record or a detection on it is left out because it ended a child."""
        return ordinal in self.skip_calls or ordinal in self.task.skip_records

    def pass_over(self, end: int) -> None:
        """Leave out the ordinals up to `end`: their rows are elsewhere."""
        self._close_span()
        self.count("", "skipped", end - self.next)
        self.first = self.next = end

    def _close_span(self) -> None:
        if self.next > self.first:
            task, decoder = self.task, self.decoder
            span = Span(
                task=task.task,
                identity=task.identity,
                first=self.first,
                end=self.next,
                framing=decoder.framing,
                tail_open=decoder.tail_open and self.next == decoder.records,
            )
            self._spans.append(span)
            self.first = self.next

    def spans(self) -> list[Span]:
        """The ranges that are in no result yet."""
        self._close_span()
        return self._spans

    def take_spans(self) -> list[Span]:
        """The same; they are in a result now."""
        spans = self.spans()
        self._spans = []
        return spans

    def segments(self, first: int, end: int) -> Iterable[tuple[int, int, bool]]:
        """`[first, end)` in pieces `(first, end, wanted)`: what is skipped apart, marked ordinals alone, the rest
        in strides."""
        if not self._marks and not self.task.skip and end - first <= _STRIDE:
            return ((first, end, True),)
        return self._segments(first, end)

    def _segments(self, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
        at = first
        for skip_first, skip_end in (*self.task.skip, (end, end)):
            for piece in self._wanted((at, min(skip_first, end))):
                yield *piece, True
            at = max(at, min(skip_first, end))
            if min(skip_end, end) > at:
                yield at, min(skip_end, end), False
                at = min(skip_end, end)

    def _wanted(self, within: Range) -> Iterator[Range]:
        at, end = within
        for mark in (*(mark for mark in self._marks if at <= mark < end), end):
            for start in range(at, mark, _STRIDE):
                yield start, min(start + _STRIDE, mark)
            if mark < end:
                yield mark, mark + 1
            at = mark + 1
