"""The `parser:` section of a schema."""

from __future__ import annotations

import difflib
from typing import Literal

from ingestd.schemas import spec
from ingestd.schemas.parsers import fastmatch, regex, script
from ingestd.schemas.problems import Problems
from ingestd.schemas.yamlnodes import Map

_SHARED = ("emptyValues", "expandFields", "trimSpace", "skipPrefix", "skipLines")
_KEYS: dict[str, tuple[str, ...]] = {
    "fastmatch": ("match", *_SHARED),
    "regex": ("match", "patternDefinitions", *_SHARED),
    "csv": ("delimiter", "hasHeader", "columns", "aliases", *_SHARED),
    "script": ("function",),
}


class ParserReader:
    """Reads and checks `parser:`; problems go where those of the schema go."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def read(self, root: Map, fields: set[str]) -> spec.Parser | None:
        """The parser of a schema whose top-level fields read from the keys `fields`; None is JSON."""
        section = self.problems.mapping(root, "parser", "")
        if section is None:
            return None
        kinds = [key for key in section if key not in {"native", "starlark"}]
        if "native" in section:
            self.problems.add(section.line_of("native"), "parser", "native parsers are code of the vendor's own",
                              f"write one of {', '.join(_KEYS)}")  # fmt: skip
            return None
        if "starlark" in section:
            self.problems.add(section.line_of("starlark"), "parser", "starlark is now called script",
                              "parser: {script: {function: …}}")  # fmt: skip
            return None
        if len(kinds) != 1:
            self.problems.add(section.line, "parser", f"needs exactly one of {', '.join(_KEYS)}")
            return None
        kind = kinds[0]
        args = self.problems.mapping(section, kind, "parser")
        if kind not in _KEYS or args is None:
            near = difflib.get_close_matches(kind, _KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(_KEYS)}"
            self.problems.add(section.line_of(kind), "parser", f"unknown parser {kind!r}", hint)
            return None
        path = f"parser.{kind}"
        self.problems.unknown_keys(args, _KEYS[kind], path)
        return self._parser(kind, args, path, fields)

    def _parser(self, kind: str, args: Map, path: str, fields: set[str]) -> spec.Parser | None:
        if kind == "script":
            return self._script(args, path)
        options = self._options(args, path, fields)
        if kind == "csv":
            return self._csv(args, path, options, fields)
        match = self.problems.texts(args, "match", path)
        if not match:
            self.problems.add(args.line_of("match"), path, "needs match, a list of patterns")
            return None
        if kind == "fastmatch":
            return self._fastmatch(match, args, path, options, fields)
        return self._regex(match, args, path, options, fields)

    def _options(self, args: Map, path: str, fields: set[str]) -> spec.TextOptions:
        expand = self.problems.mapping(args, "expandFields", path) or Map(args.line)
        self._known(args, "expandFields", path, expand, fields)
        return spec.TextOptions(
            empty_values=self.problems.texts(args, "emptyValues", path),
            expand_fields=tuple((name, self.problems.text(expand, name, path)) for name in expand),
            trim_space=self.problems.flag(args, "trimSpace", path),
            skip_prefix=self.problems.text(args, "skipPrefix", path),
            skip_lines=self.problems.integer(args, "skipLines", path),
        )

    def _fastmatch(
        self, match: tuple[str, ...], args: Map, path: str, options: spec.TextOptions, fields: set[str]
    ) -> spec.Parser:
        for pattern in match:
            try:
                names = fastmatch.field_names(pattern)
            except ValueError as error:
                self.problems.add(args.line_of("match"), path, str(error))
            else:
                self._known(args, "match", path, names, fields)
        return spec.FastMatch(match, options)

    def _regex(
        self, match: tuple[str, ...], args: Map, path: str, options: spec.TextOptions, fields: set[str]
    ) -> spec.Parser | None:
        named = self.problems.mapping(args, "patternDefinitions", path) or Map(args.line)
        definitions = {name: self.problems.text(named, name, path) for name in named}
        try:
            expression, groups = regex.expand("".join(match), definitions)
        except ValueError as error:
            self.problems.add(args.line_of("match"), path, str(error))
            return None
        self._known(args, "match", path, [name for name in groups if name], fields)
        return spec.Regex(expression, groups, options)

    def _csv(self, args: Map, path: str, options: spec.TextOptions, fields: set[str]) -> spec.Parser:
        delimiter = self.problems.text(args, "delimiter", path, ",")
        if len(delimiter) != 1:
            self.problems.add(args.line_of("delimiter"), path, "delimiter must be one character")
            delimiter = ","
        columns = self.problems.texts(args, "columns", path)
        aliases = self.problems.mapping(args, "aliases", path) or Map(args.line)
        header: Literal["none", "first", "auto"] = "none"
        if args.get("hasHeader") == "auto":
            header = "auto"
        elif self.problems.flag(args, "hasHeader", path):
            header = "first"
        if header != "first" and not columns:
            self.problems.add(args.line, path, "needs columns when there is no header line", "columns: [time, user]")
        targets = [self.problems.text(aliases, name, path) for name in aliases]
        self._known(args, "columns", path, [name for name in columns if name], fields)
        self._known(args, "aliases", path, targets, fields)
        return spec.Csv(delimiter, header, columns, tuple(zip(aliases, targets, strict=True)), options)

    def _script(self, args: Map, path: str) -> spec.Parser | None:
        function = self.problems.text(args, "function", path)
        try:
            script.check(function)
        except ValueError as error:
            self.problems.add(args.line_of("function"), path, str(error))
            return None
        return spec.Script(function)

    def _known(self, args: Map, key: str, path: str, names: object, fields: set[str]) -> None:
        """Each name that a parser produces must be a field, or it would silently go nowhere."""
        for name in names:  # type: ignore[attr-defined] # any iterable of names
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "declare it under fields, or leave it out with %{}"
                self.problems.add(args.line_of(key), path, f"{name!r} is not a field of the schema", hint)
