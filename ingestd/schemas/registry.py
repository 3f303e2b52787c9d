"""Every log type that is known: those that come with ingestd and the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ingestd.errors import ConfigError, Problem
from ingestd.model import Column, Drift
from ingestd.schemas import spec
from ingestd.schemas.classifier import Classifier
from ingestd.schemas.load import load_schemas
from ingestd.schemas.logtype import LogType
from ingestd.schemas.names import PASSTHROUGH

BUILTIN = Path(__file__).parent / "builtin"
"""One `<log type>.yml` per built-in log type, its samples in `<log type>_tests.yml` beside it."""

_MOST_CLASSIFIERS = 256


class Registry:
    """Log types by name. Built-in ones are read when they are first asked for."""

    def __init__(self) -> None:
        self._types: dict[str, LogType] = {}
        self._builtin: dict[str, Path] = {}
        self._passthrough: frozenset[str] = frozenset()
        self._folded: dict[str, str] = {}
        self._classifiers: dict[tuple[str, ...], Classifier] = {}

    @classmethod
    def load(cls, paths: Sequence[Path], *, builtin: bool = True) -> Registry:
        """Schemas from files and folders (`*.yml`, `*.yaml`, without `*_tests.yml`), in every depth.
        A user's schema of the name of a built-in one takes its place. Raises ConfigError with all problems."""
        registry = cls()
        if builtin:
            registry._add_builtin()
        problems: list[Problem] = []
        owners: dict[str, spec.Schema] = {}
        for file in _files(paths, problems):
            try:
                found = load_schemas(_read(file), str(file), file.stem)
            except ConfigError as error:
                problems.extend(error.problems)
                continue
            for schema in found:
                other = owners.setdefault(schema.name.lower(), schema)
                if other is not schema:
                    problems.append(Problem(f"{schema.name} is also defined in {other.file}", file=str(file), line=1))
                    continue
                registry._add(LogType(schema))
        if problems:
            raise ConfigError(problems)
        return registry

    def _add_builtin(self) -> None:
        for file in BUILTIN.glob("*.yml"):
            if not file.stem.endswith("_tests"):
                self._builtin[file.stem] = file
        self._passthrough = PASSTHROUGH - self._builtin.keys()
        for name in (*self._passthrough, *self._builtin):
            self._folded[name.lower()] = name

    def _add(self, kind: LogType) -> None:
        former = self._folded.get(kind.name.lower(), kind.name)
        self._builtin.pop(former, None)
        self._passthrough -= {former}
        self._folded[kind.name.lower()] = kind.name
        self._types[kind.name] = kind

    @property
    def names(self) -> list[str]:
        """All log types, sorted."""
        return sorted({*self._types, *self._builtin, *self._passthrough})

    def get(self, log_type: str) -> LogType:
        """The log type of that name. Raises ConfigError, with a suggestion, when there is none."""
        kind = self._types.get(log_type)
        if kind is None:
            kind = self._types[log_type] = self._load_builtin(log_type)
        return kind

    def _load_builtin(self, name: str) -> LogType:
        file = self._builtin.get(name)
        if file is not None:
            schema = next(schema for schema in load_schemas(_read(file), str(file), name) if schema.name == name)
            return LogType(schema)
        if name in self._passthrough:
            return LogType(spec.Schema(name=name, description="Known by name: every field is kept as it comes."))
        near = self._folded.get(name.lower()) or next(iter(difflib.get_close_matches(name, self.names, n=1)), None)
        hint = f"did you mean {near!r}?" if near else "add its schema under schemas.paths"
        raise ConfigError([Problem(f"no log type {name!r}", hint=hint)])

    def schema(self, log_type: str) -> spec.Schema:
        """The schema as data."""
        return self.get(log_type).schema

    def columns(self, log_type: str) -> tuple[Column, ...]:
        """Columns of the log type's table, the standard `p_` ones included."""
        return self.get(log_type).columns

    def classifier(self, log_types: Sequence[str] = ()) -> Classifier:
        """For records of one of `log_types`; of any that has fields when none is named. Raises ConfigError."""
        key = tuple(sorted(set(log_types)))
        made = self._classifiers.get(key)
        if made is None:
            if len(self._classifiers) >= _MOST_CLASSIFIERS:
                self._classifiers.clear()
            made = self._classifiers[key] = Classifier([self.get(name) for name in key or self._candidates()])
        return made

    def _candidates(self) -> Iterable[str]:
        """Log types that can be told from their records."""
        return [name for name in self.names if name not in self._passthrough]

    def take_drift(self) -> list[Drift]:
        """Unknown fields and unexpected values since the last call."""
        drift = []
        for name, kind in self._types.items():
            for what, counts in kind.strays.take():
                drift += [
                    Drift(log_type=name, kind=what, path=path, records=records) for path, records in counts.items()
                ]
        return drift


def _files(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = (file for pattern in ("*.yml", "*.yaml") for file in path.rglob(pattern))
            found.extend(sorted(file for file in files if not file.stem.endswith("_tests")))
        elif path.is_file():
            found.append(path)
        else:
            problems.append(Problem("no such file or folder", file=str(path), hint="see schemas.paths"))
    return list(dict.fromkeys(found))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"cannot be read: {error}", file=str(file))]) from error
