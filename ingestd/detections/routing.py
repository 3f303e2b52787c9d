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

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ingestd.detections import guards
from ingestd.detections.datamodels import DataModel
from ingestd.detections.event import PantherEvent
from ingestd.detections.expressions import Field
from ingestd.detections.formulas import ODD, TRUE, Asks, Formula, Projection, atoms, odd_fields
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, ImmutableList
from ingestd.detections.load import DetectionSet
from ingestd.detections.runnable import Runnable
from ingestd.detections.sources import Sources
from ingestd.detections.watch import Watch

Reader = Callable[[PantherEvent], Any]

_MAX_FIELDS = 10
_MIN_RULES = 2
"""A field is looked at for every event, which has to save more calls than it costs."""
_MAX_VALUES = 4_096
_MAX_TEXT = 1_024
_MAX_PLANS = 16_384
_NO_SUCH_TEXT = "\0 any other text"


class Left(NamedTuple):
    """What one value of one field leaves, as bits of rules."""

    kept: int
    """Five sets beside each other, so that one operation joins them all: the rules not ruled out if nothing odd is
    true of any other field; of a telling field, and the others can be fetched; of a telling field; if only the others
    can be fetched; and in any case (`formulas.Said`)."""
    odd: int
    """Rules of which something odd is true for this value."""
    failed: int = 0
    """Rules that cannot fetch this value."""


def analyse_all(detections: DetectionSet) -> dict[str, Formula]:
    """The formula of each rule that has one, by id."""
    sources = Sources(detections.modules())
    found = {}
    for name, runnable in detections.runnables.items():
        if runnable.module is not None and runnable.detection.kind == "rule":
            formula = guards.analyse(sources, sources.by_name[runnable.module.__name__])
            if formula is not TRUE:
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
        self._all_kept = _beside([self._everything] * 5, len(self.runnables))
        self._safe = _safe_fields(formulas, data_model)
        telling = _telling(formulas, self._safe)
        self._indexes: dict[Field, _Index] = {}
        self._telling = frozenset(telling)
        self._fields = [self._index(field) for field in telling]
        self._looks = [(index.read, index.tables, index.containers, index.unknown) for index in self._fields]
        self._chosen: dict[int, tuple[Runnable, ...]] = {self._everything: self.runnables, 0: ()}
        self._others: dict[int, tuple[_Index, ...]] = {}

    def _index(self, field: Field) -> _Index:
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = _Index(field, self._formulas, self._telling, self._safe)
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
        odd = failed = 0
        for read, tables, containers, unknown in self._looks:
            value = read(event)
            kind = type(value)
            table = tables.get(kind)
            left = containers.get(kind, unknown) if table is None else table[value]
            kept &= left[0]
            if left[1]:
                odd |= left[1]
                failed |= left[2]
        everything, width = self._everything, len(self.runnables)
        calm = kept & everything
        bits = calm | (odd & kept >> 3 * width)
        doubtful = (kept >> 2 * width & everything | odd & kept >> 4 * width) & ~bits
        if doubtful:
            # What the telling fields say rules these out, unless something odd is true of another field.
            bits |= self._look_further(event, doubtful, kept >> width, failed)
        chosen = self._chosen.get(bits)
        return self._choose(bits) if chosen is None else chosen

    def _look_further(self, event: PantherEvent, doubtful: int, fetched: int, failed: int) -> int:
        """Those of the doubtful rules that have to run."""
        odd = 0
        for index in self._others.get(doubtful) or self._other_fields(doubtful):
            left = index.look(event)
            odd |= left.odd
            failed |= left.failed
        return doubtful & (failed | odd & fetched)

    def _choose(self, bits: int) -> tuple[Runnable, ...]:
        chosen = tuple(self.runnables[number] for number in _members(bits))
        if len(self._chosen) >= _MAX_PLANS:
            self._chosen = {self._everything: self.runnables, 0: ()}
        self._chosen[bits] = chosen
        return chosen

    def _other_fields(self, doubtful: int) -> tuple[_Index, ...]:
        fields = frozenset[Field]().union(
            *(odd_fields(self._formulas[number], self._safe) for number in _members(doubtful))
        )
        if len(self._others) >= _MAX_PLANS:
            self._others.clear()
        found = self._others[doubtful] = tuple(self._index(field) for field in sorted(fields - self._telling))
        return found


def _members(bits: int) -> list[int]:
    return [number for number in range(bits.bit_length()) if bits >> number & 1]


def _safe_fields(formulas: Sequence[Formula], data_model: DataModel | None) -> frozenset[Field]:
    """Standard fields that no author's code and no path with several matches can make fail."""
    every = frozenset[Field]().union(*(formula.fields for formula in formulas))
    return frozenset(
        field
        for field in every
        if field.how == "udm" and (data_model is None or data_model.never_fails(field.keys[0]))
    )


def _telling(formulas: Sequence[Formula], safe: frozenset[Field]) -> list[Field]:
    """The fields to look at for every event: those of which an ordinary text rules out the most rules."""
    ruled_out: Counter[Field] = Counter()
    for formula in formulas:
        for field in formula.fields:
            said = Projection(formula, field, safe)(_NO_SUCH_TEXT, frozenset())
            ruled_out[field] += not said.calm and not said.odd
    telling = [field for field, rules in ruled_out.items() if rules >= _MIN_RULES]
    return sorted(telling, key=lambda field: (-ruled_out[field], field))[:_MAX_FIELDS]


def _beside(sets: Sequence[int], width: int) -> int:
    bits = 0
    for number, members in enumerate(sets):
        bits |= members << number * width
    return bits


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

    def __init__(
        self, field: Field, formulas: Sequence[Formula], telling: frozenset[Field], safe: frozenset[Field]
    ) -> None:
        self.field = field
        self.read = _reader(field)
        self._telling = telling
        self._projections = [
            (1 << number, Projection(formula, field, safe))
            for number, formula in enumerate(formulas)
            if field in formula.fields
        ]
        self.first = self._projections[0][0].bit_length() - 1
        concerned = sum(bit for bit, _ in self._projections)
        everything = (1 << len(formulas)) - 1
        self._unconcerned = everything & ~concerned
        self.width = len(formulas)
        kept = _beside([everything] * 5, self.width)
        self.unknown = Left(kept, concerned, concerned)
        """For a value about which nothing can be said: it rules nothing out, and anything odd may be true of it."""
        container = Left(kept, self._odd_for_containers(formulas))
        self.containers = {ImmutableCaseInsensitiveDict: container, ImmutableList: container, float: container}
        self.tables: dict[type, dict[Any, Left]] = {
            str: _Texts(self, formulas),
            int: _Numbers(self),
            bool: {value: self.left_by(value) for value in (True, False)},
            type(None): {None: self.left_by(None)},
            type(Absent): {Absent: self.left_by(Absent)},
        }

    def _odd_for_containers(self, formulas: Sequence[Formula]) -> int:
        """The rules that do more with the value than compare it or ask for its truth."""
        bits = 0
        for number, formula in enumerate(formulas):
            for atom in atoms(formula, self.field):
                if atom.asks in ODD and not (atom.asks is Asks.RAISES and atom.expression.takes_anything):
                    bits |= 1 << number
        return bits

    def look(self, event: PantherEvent) -> Left:
        """What the event's value leaves."""
        value = self.read(event)
        table = self.tables.get(type(value))
        return self.containers.get(type(value), self.unknown) if table is None else table[value]

    def left_by(self, value: Any, only: int = -1) -> Left:
        """The rules that `value` leaves, among those in `only`."""
        sets = [self._unconcerned] * 5
        odd = 0
        for bit, projection in self._projections:
            if bit & only:
                *kept, is_odd = projection(value, self._telling)
                sets = [members | bit * keeps for members, keeps in zip(sets, kept, strict=True)]
                odd |= bit * is_odd
        return Left(_beside(sets, self.width), odd)


class _Texts(dict[str, Left]):
    """Texts. Rules that only compare with fixed texts answer alike for all others: a text that no rule
    mentions costs one look at the few rules that look into it."""

    def __init__(self, index: _Index, formulas: Sequence[Formula]) -> None:
        self._index = index
        self._named: frozenset[str] = frozenset()
        self._looking = 0
        for number, formula in enumerate(formulas):
            for atom in atoms(formula, index.field):
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
            mask = _beside([self._looking] * 5, self._index.width)
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
