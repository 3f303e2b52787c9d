"""Lines of text → events: one reader per schema and object, because a header line is an object's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ingestd.schemas import spec
from ingestd.schemas.coerce import Misfit
from ingestd.schemas.compile import FromCells, Normalise
from ingestd.schemas.compile_text import compile_cells
from ingestd.schemas.parsers import csvtext, fastmatch, regex, script
from ingestd.schemas.strays import Strays

Read = tuple[dict[str, Any], str]
"""An event and its event time, or `""`."""

Cut = Callable[[str], "Sequence[str | None] | None"]

_TEMPLATE = re.compile(r"%\{([^}]*)\}")
_MOST_HEADERS = 64
_MOST_COLUMNS = 1000
"""In a header line. Code is made for each; a line of a million delimiters is no header."""


class LineReader(Protocol):
    """Reads the lines of one object."""

    def read(self, line: str, ordinal: int, keep: bool) -> Read | None:
        """The event, or None for a line that is no row (a header, a comment). Raises Misfit."""


class TextSchema:
    """The compiled parser of a schema; makes readers."""

    def __init__(
        self,
        schema: spec.Schema,
        strays: Strays,
        prepare: Callable[[dict[str, Any]], None] | None,
        normalise: Normalise,
    ) -> None:
        self.schema = schema
        self._strays = strays
        self._prepare = prepare
        self._normalise = normalise
        self._headers: dict[tuple[str, ...], tuple[int, FromCells]] = {}
        self._patterns: list[tuple[Cut, FromCells]] = []
        parser = schema.parser
        if isinstance(parser, spec.FastMatch):
            for pattern in parser.match:
                names, cut = fastmatch.compile_pattern(pattern)
                self._patterns.append((cut, self.from_cells(names, parser.options, may_be_none=False)))
        elif isinstance(parser, spec.Regex):
            names, cut = regex.compile_pattern(parser.expression, parser.groups)
            self._patterns.append((cut, self.from_cells(names, parser.options, may_be_none=True)))
        self._script = script.compile_function(parser.function) if isinstance(parser, spec.Script) else None

    @property
    def needs_header(self) -> bool:
        """Whether an object's first line decides what its columns are."""
        return isinstance(self.schema.parser, spec.Csv) and self.schema.parser.header != "none"

    def reader(self, *, exact: bool) -> LineReader:
        """A reader for one object. With `exact`, rows must have just the columns that are declared: so when
        several log types are possible."""
        parser = self.schema.parser
        if isinstance(parser, spec.Csv):
            return _CsvReader(self, parser, exact=exact)
        if self._script is not None:
            return _ScriptReader(self._script, self._prepare, self._normalise)
        assert isinstance(parser, (spec.FastMatch, spec.Regex))
        return _PatternReader(self._patterns, parser.options)

    def for_header(self, names: tuple[str, ...], options: spec.TextOptions) -> tuple[int, FromCells]:
        """(width, function) for rows under a header line; remembered, since objects share theirs."""
        made = self._headers.get(names)
        if made is None:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            made = self._headers[names] = (len(names), self.from_cells(names, options, may_be_none=False))
        return made

    def from_cells(self, names: Sequence[str], options: spec.TextOptions, *, may_be_none: bool) -> FromCells:
        """The function from cells to events: straight code where nothing needs the event as texts first."""
        if self._prepare is None and not options.expand_fields:
            return compile_cells(self.schema, self._strays, names, options, may_be_none=may_be_none)
        return _through_texts(names, options, self._prepare, self._normalise)


def _through_texts(
    names: Sequence[str],
    options: spec.TextOptions,
    prepare: Callable[[dict[str, Any]], None] | None,
    normalise: Normalise,
) -> FromCells:
    empty = frozenset(options.empty_values)

    def from_cells(cells: Sequence[str | None], keep: bool) -> Read:
        event: dict[str, Any] = {}
        for name, cell in zip(names, cells, strict=True):
            if not name or cell is None:
                continue
            text = cell.strip() if options.trim_space else cell
            if text not in empty:
                event[name] = text
        for name, template in options.expand_fields:
            text = _TEMPLATE.sub(lambda match: str(event.get(match[1], "")), template)
            if text and text not in empty:
                event[name] = text
        if prepare is not None:
            prepare(event)
        return event, normalise(event, keep)

    return from_cells


class _PatternReader:
    """fastmatch and regex: the first pattern that matches."""

    __slots__ = ("_options", "_patterns")

    def __init__(self, patterns: Sequence[tuple[Cut, FromCells]], options: spec.TextOptions) -> None:
        self._patterns = patterns
        self._options = options

    def read(self, line: str, ordinal: int, keep: bool) -> Read | None:
        options = self._options
        if ordinal < options.skip_lines or (options.skip_prefix and line.startswith(options.skip_prefix)):
            return None
        for cut, from_cells in self._patterns:
            cells = cut(line)
            if cells is not None:
                return from_cells(cells, keep)
        raise Misfit("", "the line matches no pattern")


class _ScriptReader:
    """script: a dict of the function's own making."""

    __slots__ = ("_normalise", "_prepare", "_run")

    def __init__(
        self,
        run: Callable[[str], dict[str, Any] | None],
        prepare: Callable[[dict[str, Any]], None] | None,
        normalise: Normalise,
    ) -> None:
        self._run = run
        self._prepare = prepare
        self._normalise = normalise

    def read(self, line: str, ordinal: int, keep: bool) -> Read | None:
        event = self._run(line)
        if event is None:
            raise Misfit("", "the script's parse(log) failed or returned no dict")
        if self._prepare is not None:
            self._prepare(event)
        return event, self._normalise(event, keep)


class _CsvReader:
    """csv: knows the columns of its object once the first line was seen."""

    def __init__(self, owner: TextSchema, parser: spec.Csv, *, exact: bool) -> None:
        self._owner = owner
        self._parser = parser
        self._exact = exact
        self._aliases = dict(parser.aliases)
        sources = {field.source for field in owner.schema.fields}
        self._known = sources | set(self._aliases) | {name for name in parser.columns if name}
        self._cut: Cut | None = None
        self._from_cells: FromCells | None = None
        self._expects_header = parser.header != "none"
        if parser.columns:
            # without a header it must be the columns that are expected, not just as many that happen to fit
            self._use(parser.columns, exact=exact or parser.header == "auto")

    def _use(self, names: Sequence[str], *, exact: bool) -> None:
        width, self._from_cells = self._owner.for_header(tuple(names), self._parser.options)
        self._cut = csvtext.cutter(self._parser.delimiter, width, exact=exact)

    def _is_header(self, line: str, ordinal: int) -> bool:
        """Whether the line names columns; if so, they are in force from now on."""
        parser = self._parser
        cells = [cell.strip() for cell in csvtext.cells_of(line.strip(), parser.delimiter)]
        if len(cells) > _MOST_COLUMNS:
            raise Misfit("", f"a line of {len(cells)} columns; at most {_MOST_COLUMNS}")
        known = sum(cell in self._known for cell in cells)
        if parser.header == "auto":
            # most names known, not all: a column of next year must not turn the header into a row
            if known * 2 <= len(cells) or any(cell.isdigit() for cell in cells):
                return False
        elif ordinal != parser.options.skip_lines:
            return False
        elif self._exact and known * 2 < len(cells):
            raise Misfit("", "the header line names other columns")
        if parser.header == "auto" or not parser.columns:
            names = [self._aliases.get(cell, cell) for cell in cells]
            self._use([name if names.index(name) == at else "" for at, name in enumerate(names)], exact=self._exact)
        return True

    def read(self, line: str, ordinal: int, keep: bool) -> Read | None:
        options = self._parser.options
        if ordinal < options.skip_lines or (options.skip_prefix and line.startswith(options.skip_prefix)):
            return None
        if self._expects_header:
            self._expects_header = False
            if self._is_header(line, ordinal):
                return None
        if self._cut is None or self._from_cells is None:
            raise Misfit("", "no header line came before the row")
        cells = self._cut(line)
        try:
            if cells is None:
                raise Misfit("", "another number of columns than declared")
            return self._from_cells(cells, keep)
        except Misfit:
            # objects that were put one behind the other bring a header each
            if self._parser.header == "auto" and self._is_header(line, ordinal):
                return None
            raise
