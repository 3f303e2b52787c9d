"""Which rules could say yes to an event: an index over the fields that rules ask about first.

Each rule has a formula that is false only for events on which the rule returns False with no effect
(`guards.analyse`). Per field and value the index keeps, as the bits of one integer, the rules that the value does
not rule out; an event's candidates are the bits that are left when the integers of its fields are joined. Values
are looked up as rules look them up, so a key in another case, or a missing key with a default, comes out the same.

A rule that raises on a value must run to raise, and one that returns None must run to be reported. That is true of
odd values only (`in` on a list, `startswith` on null), so besides the rules left in any case each field keeps the
rules left if nothing odd is true of other fields, and the rules of which something odd is true for this very value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ingestd.detections import guards
from ingestd.detections.datamodels import DataModel
from ingestd.detections.event import PantherEvent
from ingestd.detections.expressions import Field
from ingestd.detections.guards import Formula, Projection
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict
from ingestd.detections.load import DetectionSet
from ingestd.detections.runnable import Runnable
from ingestd.detections.sources import Sources
from ingestd.detections.watch import Watch

Reader = Callable[[PantherEvent], Any]

_MAX_FIELDS = 8
_MIN_RULES = 3
"""A field is looked at for every event, which has to save more calls than it costs."""
_MAX_VALUES = 4_096
_MAX_TEXT = 1_024
_MAX_PLANS = 16_384
_NO_SUCH_TEXT = "\0 any other text"


class Left(NamedTuple):
    """What one value of one field leaves, as bits of rules."""

    kept: int
    """Three sets beside each other, so that one operation joins all three: rules not ruled out if nothing odd is true
    of any other field; of the telling fields; rules not ruled out whatever is true of other fields."""
    odd: int
    """Rules of which something odd is true for this value."""


def analyse_all(detections: DetectionSet) -> dict[str, Formula]:
    """The formula of each rule that has one, by id."""
    sources = Sources(detections.modules())
    found = {}
    for name, runnable in detections.runnables.items():
        if runnable.module is not None and runnable.detection.kind == "rule":
            formula = guards.analyse(sources, sources.by_name[runnable.module.__name__])
            if formula is not guards.TRUE:
                found[name] = formula
    return found


class Plan:
    """The rules of one log type, and the index over them."""

    def __init__(
        self,
        runnables: Sequence[Runnable],
        data_model: DataModel | None,
        formulas: Sequence[Formula],
        watch: Watch,
    ) -> None:
        """`formulas` are those of the runnables; `TRUE` for a rule that always has to run."""
        self.data_model = data_model
        self._watch = watch
        self.runnables = tuple(runnables)
        self._formulas = tuple(formulas)
        self._everything = (1 << len(self.runnables)) - 1
        self._all_kept = _beside(self._everything, self._everything, self._everything, len(self.runnables))
        telling = _telling(formulas)
        self._indexes: dict[Field, _Index] = {}
        self._telling = frozenset(telling)
        self._fields = [self._index(field) for field in telling]
        self._looks = [(index.read, index.tables, index.unknown) for index in self._fields]
        self._chosen: dict[int, tuple[Runnable, ...]] = {self._everything: self.runnables, 0: ()}
        self._others: dict[int, tuple[_Index, ...]] = {}

    def _index(self, field: Field) -> _Index:
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = _Index(field, self._formulas, self._telling)
            model = self.data_model
            if field.how == "udm" and model is not None and field.keys[0] in model.methods:
                index.read = _asking(index.read, self.runnables[index.first].id, self._watch)
        return index

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields looked at, most useful first."""
        return tuple(index.field for index in self._fields)

    def candidates(self, event: PantherEvent) -> tuple[Runnable, ...]:
        """The rules to run, in their order."""
        kept = self._all_kept
        odd = 0
        for read, tables, unknown in self._looks:
            value = read(event)
            table = tables.get(type(value))
            left = unknown if table is None else table[value]
            kept &= left[0]
            if left[1]:
                odd |= left[1]
        everything, width = self._everything, len(self.runnables)
        calm = kept & everything
        watched = kept >> width & everything
        at_all = kept >> 2 * width
        doubtful = watched & ~(calm | odd)
        if doubtful:
            # What the telling fields say rules these out, unless something odd is true of another field.
            for index in self._others.get(doubtful) or self._other_fields(doubtful):
                odd |= index.look(event).odd
        bits = calm | (odd & at_all)
        chosen = self._chosen.get(bits)
        return self._choose(bits) if chosen is None else chosen

    def _choose(self, bits: int) -> tuple[Runnable, ...]:
        chosen = tuple(runnable for number, runnable in enumerate(self.runnables) if bits >> number & 1)
        if len(self._chosen) >= _MAX_PLANS:
            self._chosen = {self._everything: self.runnables, 0: ()}
        self._chosen[bits] = chosen
        return chosen

    def _other_fields(self, doubtful: int) -> tuple[_Index, ...]:
        fields = frozenset[Field]().union(
            *(formula.odd for number, formula in enumerate(self._formulas) if doubtful >> number & 1)
        )
        if len(self._others) >= _MAX_PLANS:
            self._others.clear()
        found = self._others[doubtful] = tuple(self._index(field) for field in sorted(fields - self._telling))
        return found


def _telling(formulas: Sequence[Formula]) -> list[Field]:
    """The fields to look at for every event: those of which an ordinary text rules out the most rules."""
    ruled_out = {
        field: sum(
            field in formula.fields and not Projection(formula, field)(_NO_SUCH_TEXT, frozenset()).calm
            for formula in formulas
        )
        for field in frozenset[Field]().union(*(formula.fields for formula in formulas))
    }
    telling = [field for field, rules in ruled_out.items() if rules >= _MIN_RULES]
    return sorted(telling, key=lambda field: (-ruled_out[field], field))[:_MAX_FIELDS]


def _beside(calm: int, watched: int, at_all: int, width: int) -> int:
    return calm | watched << width | at_all << 2 * width


class _Failed:
    """Stands for the value of a field that could not be had."""


def _asking(read: Reader, asker: str, watch: Watch) -> Reader:
    """A reader of a field that a data model's method answers: an author's code, so it runs in a window, that of
    the first rule which would ask. If it fails, the rules that ask run and meet the failure themselves."""

    def guarded(event: PantherEvent) -> Any:
        watch.serial += 1
        watch.running = asker
        try:
            value = read(event)
            watch.running = None
        except BaseException:  # noqa: BLE001 - an author's code may raise anything
            watch.running = None
            return _Failed()
        return value

    return guarded


class _Index:
    """One field: per type of value, a table from value to the rules that it leaves."""

    def __init__(self, field: Field, formulas: Sequence[Formula], telling: frozenset[Field]) -> None:
        self.field = field
        self.read = _reader(field)
        self._telling = telling
        self._projections = [
            (1 << number, Projection(formula, field))
            for number, formula in enumerate(formulas)
            if field in formula.fields
        ]
        self.first = self._projections[0][0].bit_length() - 1
        concerned = sum(bit for bit, _ in self._projections)
        everything = (1 << len(formulas)) - 1
        self._unconcerned = everything & ~concerned
        self.width = len(formulas)
        self.unknown = Left(_beside(everything, everything, everything, self.width), concerned)
        """For floats and containers: they rule nothing out, and anything odd may be true of them."""
        self.tables: dict[type, dict[Any, Left]] = {
            str: _Texts(self, formulas),
            int: _Numbers(self),
            bool: {value: self.left_by(value) for value in (True, False)},
            type(None): {None: self.left_by(None)},
            type(Absent): {Absent: self.left_by(Absent)},
        }

    def look(self, event: PantherEvent) -> Left:
        """What the event's value leaves."""
        value = self.read(event)
        table = self.tables.get(type(value))
        return self.unknown if table is None else table[value]

    def left_by(self, value: Any, only: int = -1) -> Left:
        """The rules that `value` leaves, among those in `only`."""
        calm = watched = at_all = self._unconcerned
        odd = 0
        for bit, projection in self._projections:
            if bit & only:
                says = projection(value, self._telling)
                calm |= bit * says.calm
                watched |= bit * says.watched
                at_all |= bit * says.at_all
                odd |= bit * says.odd
        return Left(_beside(calm, watched, at_all, self.width), odd)


class _Texts(dict[str, Left]):
    """Texts. Rules that only compare with fixed texts answer alike for all others: a text that no rule
    mentions costs one look at the few rules that look into it."""

    def __init__(self, index: _Index, formulas: Sequence[Formula]) -> None:
        self._index = index
        self._named: frozenset[str] = frozenset()
        self._looking = 0
        for number, formula in enumerate(formulas):
            for atom in guards.atoms(formula, index.field):
                told = atom.expression.tells_apart()
                if told is None:
                    self._looking |= 1 << number
                else:
                    self._named |= told
        self._other = index.left_by(_NO_SUCH_TEXT)

    def __missing__(self, text: str) -> Left:
        if len(text) > _MAX_TEXT:
            return self._index.unknown
        if text in self._named:
            left = self._index.left_by(text)
        elif not self._looking:
            return self._other
        else:
            looked = self._index.left_by(text, only=self._looking)
            mask = _beside(self._looking, self._looking, self._looking, self._index.width)
            left = Left(
                (self._other.kept & ~mask) | (looked.kept & mask),
                (self._other.odd & ~self._looking) | (looked.odd & self._looking),
            )
        if len(self) >= _MAX_VALUES:
            self.clear()
        self[text] = left
        return left


class _Numbers(dict[int, Left]):
    """Whole numbers, each answered once as long as they are few."""

    def __init__(self, index: _Index) -> None:
        self._index = index

    def __missing__(self, number: int) -> Left:
        if len(self) >= _MAX_VALUES:
            self.clear()
        left = self[number] = self._index.left_by(number)
        return left


def _reader(field: Field) -> Reader:
    keys = field.keys
    if field.how == "udm":
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
            return _Failed()  # what is there has no get()
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
        found = view._seen[inner]
        return None if found is Absent else found

    return read
