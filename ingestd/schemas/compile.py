"""A schema becomes Python code: one straight function that normalises an event in place.

Nothing walks the schema per event. `Emitter` writes the lines; what they refer to (memos, key sets, readers
of times) lies in the namespace of the generated module. A function normalises in this order: fields in schema
order, then unknown fields, then the `p_any_*` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingestd.schemas import coerce, indicators, spec, timestamps
from ingestd.schemas.coerce import Misfit
from ingestd.schemas.scan import scanner
from ingestd.schemas.strays import Strays, respell

Normalise = Callable[[dict[str, Any], bool], str]
"""`normalise(event, keep_unknown)`: changes the event, returns its event time or `""`. Raises Misfit."""

FromCells = Callable[[Sequence["str | None"], bool], "tuple[dict[str, Any], str]"]
"""`from_cells(cells, keep_unknown)`: (event, event time or `""`). Raises Misfit."""

_SPLIT_AT = 9
"""Levels of blocks after which code goes on in a function of its own; Python stops at 20."""

_NEUTRAL = {"string": "''", "boolean": "False", "float": "0.0", **dict.fromkeys(spec.INTEGERS, "0")}
"""Kind → a value of it to which nothing is done: what is read of optional fields that are absent, as most are. It
spares finding out that they are not null."""


class Emitter:
    """Writes one function and those that it calls."""

    def __init__(self, schema: spec.Schema, strays: Strays) -> None:
        self.schema = schema
        self._strays = strays
        self.namespace: dict[str, Any] = {
            **indicators.NAMESPACE,
            "INTS": coerce.INTS, "FLOATS": coerce.FLOATS, "Misfit": Misfit, "text": coerce.text,
            "integer": coerce.integer, "number": coerce.number, "boolean": coerce.boolean, "wrong": coerce.wrong,
            "bad_time": coerce.bad_time, "respell": respell, "embedded": coerce.embedded,
        }  # fmt: skip
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.collected = collected_lists(schema)
        self._made = 0
        self._path: list[str] = []

    # --- writing --------------------------------------------------------------------------------------

    def name(self, prefix: str) -> str:
        """A name not used before."""
        self._made += 1
        return f"{prefix}{self._made}"

    def constant(self, prefix: str, value: object) -> str:
        """Put a value into the namespace and return its name."""
        name = self.name(prefix)
        self.namespace[name] = value
        return name

    def write(self, level: int, *lines: str) -> None:
        """Lines at a level of indentation."""
        self.lines.extend(" " * level + line for line in lines)

    @property
    def collectors(self) -> str:
        """The collecting lists as arguments."""
        return "".join(f", {name}" for name in self.collected)

    def finish(self, function: str) -> Any:
        """Compile what was written; the value is the function of that name."""
        source = "\n".join([*self.functions, *self.lines])
        exec(compile(source, f"<schema {self.schema.name}>", "exec"), self.namespace)  # noqa: S102 - our own code
        return self.namespace[function]

    # --- functions ------------------------------------------------------------------------------------

    def begin(self, signature: str) -> None:
        """The head of the main function."""
        self.write(0, f"def {signature}:")
        self.write(1, "strays = False", "event_time = ''")
        for name in self.collected:
            self.write(1, f"{name} = []")

    def end(self, result: str) -> None:
        """Unknown fields, indicator lists, return."""
        strays = self.constant("S", self._strays)
        self.write(1, f"if strays: {strays}(d, keep)")
        for name in self.collected:
            # most have one item; a set from the beginning would cost more than making one for the others
            self.write(1, f"if {name}: d['p_any_{name}'] = {name} if len({name}) == 1 else sorted({{*{name}}})")
        self.write(1, f"return {result}")

    def members(self, level: int, obj: str, fields: Sequence[spec.Field], path: str) -> None:
        """Check the keys of the object in variable `obj`, then normalise its fields."""
        known = self.constant("K", frozenset(field.name for field in fields))
        folded = self.constant("L", {field.name.lower(): field.name for field in fields})
        self.write(level, f"if not {known}.issuperset({obj}):", " strays = True", f" respell({obj}, {folded})")
        for field in fields:
            self.field(level, obj, field, f"{path}.{field.name}" if path else field.name)

    def field(self, level: int, obj: str, field: spec.Field, path: str) -> None:
        """One field of the object in variable `obj`."""
        value = self.name("v")
        neutral = None if field.required or field.value.validate else _NEUTRAL.get(field.value.kind)
        self.write(level, f"{value} = {obj}.get({field.name!r}{', ' + neutral if neutral else ''})")
        missing = self.missing(field, path) or f"if {field.name!r} in {obj}: del {obj}[{field.name!r}]"
        self.convert(level, field.value, value, f"{obj}[{field.name!r}]", path, missing)

    def missing(self, field: spec.Field, path: str) -> str:
        """What to do when a required field is absent; empty for others."""
        return f"raise Misfit({path!r}, 'required, but absent')" if field.required else ""

    # --- values ---------------------------------------------------------------------------------------

    def convert(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        """Normalise the decoded JSON value in variable `v`, which lies at `store`."""
        if level > _SPLIT_AT and value.kind in {"object", "array"}:
            self._outline(level, value, v, store, path, missing)
            return
        getattr(self, f"_{value.kind if value.kind not in spec.INTEGERS else 'integer'}")(
            level, value, v, store, path, missing
        )

    def _string(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        if not value.indicators and value.validate is None:
            self.write(level, f"if {v}.__class__ is not str:")
            self.write(level + 1, f"if {v} is None:", f" {missing}", f"else: {store} = text({v}, {path!r})")
            return
        self.write(level, f"if {v}.__class__ is str:")
        self.checks(level + 1, value, v, path)
        self.write(level, f"elif {v} is None:", f" {missing}", "else:")
        self.write(level + 1, f"{v} = {store} = text({v}, {path!r})")
        self.checks(level + 1, value, v, path)

    def checks(self, level: int, value: spec.Value, v: str, path: str) -> None:
        """validate and indicators of the text in variable `v`."""
        self.write(level, "pass")
        rules = value.validate
        if rules is not None and (rules.allow or rules.deny):
            listed = self.constant("A", frozenset(rules.allow or rules.deny))
            test, why = ("not in", "is not allowed") if rules.allow else ("in", "is denied")
            self.write(level, f"if {v} {test} {listed}: raise Misfit({path!r}, f'{{{v}[:40]!r}} {why}')")
        if rules is not None and (rules.ip or rules.cidr):
            check, wanted = coerce.address_check(rules.ip, rules.cidr)
            name = self.constant("C", check)
            self.write(level, f"if not {name}({v}): raise wrong({v}, {wanted!r}, {path!r})")
        if value.indicators:
            self.write(level, f"if {v}:")
            for indicator in value.indicators:
                places = {list_: list_ for list_ in indicators.TABLE[indicator].writes}
                self.write(level + 1, *(line.format(v=v, **places) for line in indicators.TABLE[indicator].code))

    def _integer(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        bits = spec.INTEGERS[value.kind]
        self.write(level, f"if {v}.__class__ is not int or not {-(1 << bits)} <= {v} <= {(1 << bits) - 1}:")
        self._or_missing(level + 1, v, f"integer({v}, {bits}, {path!r})", store, missing)

    def _float(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        self.write(level, f"if {v}.__class__ is not float:")
        self._or_missing(level + 1, v, f"number({v}, {path!r})", store, missing)

    def _boolean(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        self.write(level, f"if {v}.__class__ is not bool:")
        self._or_missing(level + 1, v, f"boolean({v}, {path!r})", store, missing)

    def _or_missing(self, level: int, v: str, call: str, store: str, missing: str) -> None:
        self.write(level, f"if {v} is not None: {v} = {call}")
        self.write(level, f"if {v} is None:", f" {missing}", f"else: {store} = {v}")

    def _timestamp(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        reader = timestamps.reader_of(value.time_formats)
        texts, read = self.constant("T", reader.texts), self.constant("R", reader)
        time = self.name("w")
        self.write(level, f"{time} = {texts}[{v}] if {v}.__class__ is str else '' if {v} is None else {read}({v})")
        self.stored_time(level, value, time, v, store, path, missing)

    def stored_time(
        self, level: int, value: spec.Value, time: str, v: str, store: str, path: str, missing: str
    ) -> None:
        """Keep the time in variable `time`, read from `v`."""
        self.write(level, f"if {time}:", f" {store} = {time}")
        if value.is_event_time:
            self.write(level + 1, f"if not event_time: event_time = {time}")
        self.write(level, f"elif {time} is None: raise bad_time({v}, {path!r}, {value.time_formats!r})")
        self.write(level, "else:", f" {missing}")

    def _json(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        if value.is_embedded_json:
            self.write(level, f"if {v}.__class__ is str: {v} = {store} = embedded({v}, object, {path!r})")
        scan = self.constant("J", scanner(value.indicators))
        arguments = ", ".join((v, *scan_lists(value.indicators)))
        deep = "" if value.indicators else f" if {v}.__class__ is dict or {v}.__class__ is list else None"
        self.write(level, f"if {v} is None:", f" {missing}", f"else: {scan}({arguments}){deep}")

    def _object(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        if value.is_embedded_json:
            self.write(level, f"if {v}.__class__ is str: {v} = {store} = embedded({v}, dict, {path!r})")
        self.write(level, f"if {v}.__class__ is dict:")
        self.members(level + 1, v, value.fields, path)
        self.write(level, f"elif {v} is None:", f" {missing}", f"else: raise wrong({v}, 'object', {path!r})")

    def _array(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        assert value.element is not None
        if value.is_embedded_json:
            self.write(level, f"if {v}.__class__ is str: {v} = {store} = embedded({v}, list, {path!r})")
        at, item = self.name("i"), self.name("e")
        self.write(level, f"if {v}.__class__ is list:")
        self.write(level + 1, f"for {at}, {item} in enumerate({v}):")
        place = f"{v}[{at}]"
        self.convert(level + 2, value.element, item, place, path + "[]", f"{place} = None")
        self.write(level, f"elif {v} is None:", f" {missing}", f"else: raise wrong({v}, 'array', {path!r})")

    def _outline(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        """Put the value's code into a function of its own, which returns whether the value is there."""
        function = self.name("f")
        outer, self.lines = self.lines, []
        self.write(0, f"def {function}(box, key, strays, event_time{self.collectors}):")
        self.write(1, "v = box[key]")
        self.convert(2 - 1, value, "v", "box[key]", path, "return None")
        self.write(1, "return strays, event_time")
        self.functions.extend(self.lines)
        self.lines = outer
        box, _, key = store.rpartition("[")
        result = self.name("r")
        self.write(level, f"{result} = None if {v} is None else {function}({box}, {key[:-1]}, strays, event_time"
                   f"{self.collectors})")  # fmt: skip
        self.write(level, f"if {result} is None:", f" {missing}", f"else: strays, event_time = {result}")


# --- what a schema collects -----------------------------------------------------------------------------


def scan_lists(names: Sequence[str]) -> tuple[str, ...]:
    """The lists that a `json` field with these indicators writes, in order."""
    return tuple(sorted({list_ for name in names for list_ in indicators.TABLE[name].writes}))


def _value_lists(value: spec.Value) -> set[str]:
    lists = {list_ for name in value.indicators for list_ in indicators.TABLE[name].writes}
    if value.element is not None:
        lists |= _value_lists(value.element)
    for field in value.fields:
        lists |= _value_lists(field.value)
    return lists


def collected_lists(schema: spec.Schema) -> tuple[str, ...]:
    """Names (without `p_any_`) of the indicator lists that events of the schema can carry, sorted."""
    lists: set[str] = set()
    for field in schema.fields:
        lists |= _value_lists(field.value)
    return tuple(sorted(lists))


def compile_normalise(schema: spec.Schema, strays: Strays) -> Normalise:
    """The function for events that are already dicts; unknown fields go to `strays`."""
    emitter = Emitter(schema, strays)
    emitter.begin("normalise(d, keep)")
    emitter.members(1, "d", schema.fields, "")
    emitter.end("event_time")
    made: Normalise = emitter.finish("normalise")
    return made
