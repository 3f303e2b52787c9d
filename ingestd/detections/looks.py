"""Looking at one field of an event: fetching it as rules do, and what its value answers to all that rules ask of it.

The answers to the questions of one field are a few bytes, one per question. Equal values answer alike, so they are
worked out once per value as far as there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ingestd.detections.event import PantherEvent
from ingestd.detections.expressions import Expression, Field
from ingestd.detections.formulas import UNKNOWN, answer
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, ImmutableList

Reader = Callable[[PantherEvent], Any]

MAX_VALUES = 4_096
_MAX_TEXT = 1_024
_NO_SUCH_TEXT = "\0 any other text"


class Failed:
    """Stands for the value of a field that could not be had."""


class Table(Protocol):
    """Answers by value, for values of one type."""

    def __getitem__(self, value: Any, /) -> bytes: ...


class Look:
    """One field and the questions about it."""

    def __init__(self, field: Field, number: int, questions: Sequence[Expression]) -> None:
        """`number` tells it from the other fields of its plan."""
        self.field = field
        self.bit = 1 << number
        self.questions = tuple(questions)
        self.read = reader(field)
        self.key = field.keys[0] if field.how == "get" and len(field.keys) == 1 else None
        """Of `event.get(key)`, the most frequent way to fetch."""
        self.filled: Callable[[], None] = lambda: None
        """Called when the answers kept are forgotten, because there is no more room."""
        self.unknown = bytes([UNKNOWN]) * len(questions)
        """For a value about which nothing can be said."""
        self.texts = _Texts(self)
        self.searching = len(self.texts.looking)
        """Questions that look into a text, so that no fixed set of texts answers them."""
        self.tables: dict[type, Table] = {
            str: self.texts,
            int: _Numbers(self),
            float: _Numbers(self),
            bool: {value: self.answers(value) for value in (True, False)},
            type(None): {None: self.answers(None)},
            type(Absent): {Absent: self.answers(Absent)},
            ImmutableCaseInsensitiveDict: _Containers(self, [ImmutableCaseInsensitiveDict(_) for _ in ({}, {"": 0})]),
            ImmutableList: _Containers(self, [ImmutableList(_) for _ in ([], [0])]),
        }

    def answers(self, value: Any) -> bytes:
        """What `value` answers to each question."""
        return bytes([answer(question, value) for question in self.questions])

    def at(self, event: PantherEvent) -> bytes:
        """What the event's value answers."""
        value = self.read(event)
        table = self.tables.get(type(value))
        return self.unknown if table is None else table[value]


class _Texts(dict[str, bytes]):
    """Texts. To most questions all texts but a few answer alike; the rest look into the text."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._named: set[str] = set()
        self.looking: list[tuple[int, Expression]] = []
        for number, question in enumerate(look.questions):
            told = question.tells_apart()
            if told is None:
                self.looking.append((number, question))
            else:
                self._named |= told
        self._other = bytearray(look.answers(_NO_SUCH_TEXT))

    def __missing__(self, text: str) -> bytes:
        found = self._found(text)
        if len(text) > _MAX_TEXT:
            return found
        if len(self) >= MAX_VALUES:
            if not self.looking:
                return found
            self.clear()
            self._look.filled()
        self[text] = found
        return found

    def _found(self, text: str) -> bytes:
        if text in self._named:
            return self._look.answers(text)
        found = self._other
        if self.looking:
            is_long = len(text) > _MAX_TEXT
            for number, question in self.looking:
                found[number] = UNKNOWN if is_long else answer(question, text)
        return bytes(found)


class _Numbers(dict[float, bytes]):
    """Numbers of one type."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __missing__(self, number: float) -> bytes:
        if len(self) >= MAX_VALUES:
            self.clear()
            self._look.filled()
        found = self[number] = self._look.answers(number)
        return found


class _Containers:
    """Views of one type, of which nothing is known but whether they are empty."""

    def __init__(self, look: Look, examples: Sequence[Any]) -> None:
        """`examples` are an empty one and one that is not."""
        self._empty, self._full = (
            bytes(
                [
                    UNKNOWN if question.looks_into_containers else answer(question, example)
                    for question in look.questions
                ]
            )
            for example in examples
        )

    def __getitem__(self, value: Any) -> bytes:
        return self._full if value._container else self._empty


def reader(field: Field) -> Reader:
    """How rules fetch the field; `Absent` if it is missing and its place can tell, `Failed` if it cannot be had."""
    keys = field.keys
    if field.how in {"udm", "method"}:
        return lambda event: event.udm(*keys, default=Absent)
    if field.how == "chain":
        return lambda event: _chained(event, keys)
    if len(keys) == 1:
        key = keys[0]
        return lambda event: event._seen[key]
    if len(keys) == 2:
        return _second_level(*keys)
    return lambda event: event.deep_get(*keys)


def _chained(event: PantherEvent, keys: tuple[str, ...]) -> Any:
    """`event.get(a, {}).get(b, {}).get(c)`."""
    found: Any = event
    for key in keys:
        if not isinstance(found, ImmutableCaseInsensitiveDict):
            return Failed()  # what is there has no get()
        found = found._seen[key]
        if found is Absent:
            return Absent
    return found


def _second_level(outer: str, inner: str) -> Reader:
    """`event.deep_get(outer, inner)`, for the usual case."""

    def read(event: PantherEvent) -> Any:
        view = event._seen[outer]
        if type(view) is not ImmutableCaseInsensitiveDict:
            return None
        found = view._container.get(inner)
        if type(found) is str:  # most are, and need no view
            return found
        found = view._seen[inner]
        return None if found is Absent else found

    return read
