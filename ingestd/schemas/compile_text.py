"""The function for lines of text that were cut into cells: builds the event from them, typed at once.

Cells are texts, so that the checks of types that JSON needs fall away: a text column costs one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingestd.schemas import spec, timestamps
from ingestd.schemas.compile import Emitter, FromCells
from ingestd.schemas.strays import Strays


class _CellEmitter(Emitter):
    """`options` say which texts count as absent."""

    def __init__(self, schema: spec.Schema, strays: Strays, options: spec.TextOptions, *, may_be_none: bool) -> None:
        super().__init__(schema, strays)
        self.options = options
        self.may_be_none = may_be_none

    def absent(self, v: str) -> str:
        """The condition under which the cell in variable `v` counts as absent; empty if it never does."""
        empty = self.options.empty_values
        tests = [f"{v} is None"] if self.may_be_none else []
        if len(empty) == 1:
            tests.append(f"{v} == {empty[0]!r}")
        elif empty:
            tests.append(f"{v} in {self.constant('E', frozenset(empty))}")
        return " or ".join(tests)

    def cell(self, level: int, field: spec.Field, v: str) -> None:
        """Put the cell in variable `v` into the event."""
        path = field.name
        missing = self.missing(field, path) or "pass"
        if self.options.trim_space:
            self.write(level, f"if {v}: {v} = {v}.strip()" if self.may_be_none else f"{v} = {v}.strip()")
        condition = self.absent(v)
        if condition:
            self.write(level, f"if {condition}:", f" {missing}", "else:")
            level += 1
        self.typed(level, field.value, v, f"d[{field.name!r}]", path, missing)

    def typed(self, level: int, value: spec.Value, v: str, store: str, path: str, missing: str) -> None:
        """Convert the text in variable `v` and keep it at `store`."""
        if value.kind == "string":
            self.write(level, f"{store} = {v}")
            if value.indicators or value.validate:
                self.checks(level, value, v, path)
        elif value.kind == "timestamp":
            time = self.name("w")
            texts = self.constant("T", timestamps.reader_of(value.time_formats).texts)
            self.write(level, f"{time} = {texts}[{v}]")
            self.stored_time(level, value, time, v, store, path, missing)
        elif value.kind in spec.INTEGERS:
            bits = spec.INTEGERS[value.kind]
            number = self.name("n")
            self.write(level, f"{number} = INTS[{v}]")
            fits = f"{number}.__class__ is int and {-(1 << bits)} <= {number} <= {(1 << bits) - 1}"
            self.write(level, f"if not ({fits}): {number} = integer({v}, {bits}, {path!r})")
            self.write(level, f"if {number} is None:", f" {missing}", f"else: {store} = {number}")
        elif value.kind == "float":
            number = self.name("n")
            self.write(level, f"{number} = number({v}, {path!r})")
            self.write(level, f"if {number} is None:", f" {missing}", f"else: {store} = {number}")
        else:
            self.write(level, f"{store} = {v}")
            remove = missing if missing.startswith("raise") else f"del {store}"
            self.convert(level, value, v, store, path, remove)


def _unknown(emitter: _CellEmitter, cells: Sequence[tuple[str, str]]) -> None:
    """Columns of a header line that the schema does not know: (name in the header, variable)."""
    emitter.write(1, "strays = True")
    for name, v in cells:
        condition = emitter.absent(v)
        emitter.write(1, f"if not ({condition}): d[{name!r}] = {v}" if condition else f"d[{name!r}] = {v}")


def compile_cells(
    schema: spec.Schema, strays: Strays, names: Sequence[str], options: spec.TextOptions, *, may_be_none: bool
) -> FromCells:
    """The function for cells named `names` (`""` is ignored), which always come in that number."""
    emitter = _CellEmitter(schema, strays, options, may_be_none=may_be_none)
    emitter.begin("from_cells(cells, keep)")
    cells = [emitter.name("c") for _ in names]
    emitter.write(1, f"({''.join(name + ', ' for name in cells)}) = cells", "d = {}")
    by_source = {name: v for name, v in zip(names, cells, strict=True) if name}
    for field in schema.fields:
        v = by_source.pop(field.source, None)
        if v is not None:
            emitter.cell(1, field, v)
        elif field.required:
            emitter.write(1, emitter.missing(field, field.name))
    taken = {field.name for field in schema.fields}
    unknown = [(name, v) for name, v in by_source.items() if name not in taken]
    if unknown:
        _unknown(emitter, unknown)
    emitter.end("d, event_time")
    made: FromCells = emitter.finish("from_cells")
    return made
