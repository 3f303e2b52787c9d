"""Looking at one field of an event: fetching it as rules do, and what its value answers to all that rules ask of it.

The answers to the questions of one field are a few bytes, one per question. Equal values answer alike, so they are
worked out once per value as far as there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, Protocol

from ingestd.detections.event import PantherEvent
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, ImmutableList
from ingestd.detections.routing.expressions import Expression, Field
from ingestd.detections.routing.formulas import UNKNOWN, answer
from ingestd.detections.routing.readers import Several, reader

MAX_VALUES = 4_096
_MAX_TEXT = 1_024
_MAX_ITEMS = 16
_MAX_ITEM = 128
"""Of a list that is known by what it holds: its items, and the characters of each."""
_SCALARS = frozenset({str, int, bool, type(None)})
"""Types of which equal values are the same to every question; 0.0 and -0.0 are not the same as texts."""
_NO_SUCH_TEXT = "\0 any other text"


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
        self.may_take_long = any(question.may_take_long for question in questions)
        """About a text. Then `ask` is to be replaced by something that looks at the clock."""
        self.texts = _Texts(self)
        self.ask: Callable[[str], list[int] | None] = self.texts.looked_into
        """What a text answers to the questions that look into it; None if that took too long."""
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
            ImmutableList: _Lists(self, [ImmutableList(_) for _ in ([], [0])]),
            dict: _Containers(self, [{}, {"": 0}]),
            list: _Lists(self, [[], [0]]),
            Several: _Several(self),
        }

    def answers(self, value: Any) -> bytes:
        """What `value` answers to each question."""
        return bytes([answer(question, value) for question in self.questions])

    def at(self, event: PantherEvent) -> bytes:
        """What the event's value answers."""
        return self.about(self.read(event))

    def about(self, value: Any) -> bytes:
        """`answers`, as far as it is known or small enough to be found out."""
        table = self.tables.get(type(value))
        return self.unknown if table is None else table[value]


class _Texts(dict[str, bytes]):
    """Texts. To most questions all texts but a few answer alike; the rest look into the text."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._named: set[str] = set()
        self.looking: list[tuple[int, Expression]] = []
        fixed: list[tuple[int, Expression]] = []
        for number, question in enumerate(look.questions):
            told = question.tells_apart()
            if told is None:
                self.looking.append((number, question))
            else:
                self._named |= told
                fixed.append((number, question))
        self._fixed = fixed
        self._other = self._settled(_NO_SUCH_TEXT)

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

    def _settled(self, text: str) -> bytearray:
        found = bytearray(self._look.unknown)
        for number, question in self._fixed:
            found[number] = answer(question, text)
        return found

    def _found(self, text: str) -> bytes:
        found = self._settled(text) if text in self._named else self._other
        if self.looking:
            said = None if len(text) > _MAX_TEXT else self._look.ask(text)
            for place, (number, _) in enumerate(self.looking):
                found[number] = UNKNOWN if said is None else said[place]
        return bytes(found)

    def looked_into(self, text: str) -> list[int]:
        """The answers of the questions that no fixed set of texts answers."""
        return [answer(question, text) for _, question in self.looking]


class _Numbers(dict[float, bytes]):
    """Numbers of one type."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __missing__(self, number: float) -> bytes:
        if not number and type(number) is float:
            return self._look.answers(number)  # 0.0 equals -0.0, and is another text
        if len(self) >= MAX_VALUES:
            self.clear()
            self._look.filled()
        found = self[number] = self._look.answers(number)
        return found


class _Containers:
    """Containers of one type, of which nothing is known but whether they are empty."""

    def __init__(self, look: Look, examples: Sequence[Any]) -> None:
        """`examples` are an empty one and one that is not."""
        empty, full = examples
        self._empty = look.answers(empty)
        self._full = bytes(
            UNKNOWN if question.looks_into_containers else answer(question, full) for question in look.questions
        )

    def __getitem__(self, value: Any) -> bytes:
        return self._full if getattr(value, "_container", value) else self._empty


class _Lists(_Containers):
    """Views of lists, or lists. Short ones of nothing but short texts and numbers are known by what they hold."""

    def __init__(self, look: Look, examples: Sequence[Any]) -> None:
        super().__init__(look, examples)
        self._look = look
        self._are_asked = not look.may_take_long and any(
            question.looks_into_containers for question in look.questions
        )
        self._known: dict[tuple[object, ...], bytes] = {}

    def __getitem__(self, value: Any) -> bytes:
        items = getattr(value, "_container", value)
        if not items:
            return self._empty
        if not self._are_asked or len(items) > _MAX_ITEMS:
            return self._full
        kinds = tuple(map(type, items))
        if not _SCALARS.issuperset(kinds) or any(type(item) is str and len(item) > _MAX_ITEM for item in items):
            return self._full
        held = (kinds, *items)
        found = self._known.get(held)
        if found is None:
            if len(self._known) >= MAX_VALUES:
                self._known.clear()
                self._look.filled()
            found = self._known[held] = self._look.answers(value)
        return found


class _Several:
    """What any of several values answers."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._none = bytes(len(look.questions))
        self._joined: dict[tuple[bytes, ...], bytes] = {}

    def __getitem__(self, values: Several) -> bytes:
        about = self._look.about
        if len(values) == 1:
            return about(values[0])
        said = tuple({about(value): None for value in values})
        if len(said) < 2:
            return said[0] if said else self._none
        found = self._joined.get(said)
        if found is None:
            if len(self._joined) >= MAX_VALUES:
                self._joined.clear()
            found = self._joined[said] = bytes(reduce(or_, answers) for answers in zip(*said, strict=True))
        return found
