"""Samples in, a schema out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ingestd.errors import ConfigError
from ingestd.schemas.infer import check, emit, names
from ingestd.schemas.infer.decide import Decider, Field, choose_event_time, choose_required
from ingestd.schemas.infer.evidence import Evidence, decode
from ingestd.schemas.infer.texts import Draft, detect
from ingestd.schemas.load import load_schemas
from ingestd.schemas.logtype import LogType
from ingestd.schemas.session import Event, Session

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of samples for the round trip; beyond it each second one is let go, again and again."""
_KEPT_OVERHEAD = 200
_MOST_PROBLEMS = 1000
_NAME = re.compile(r"[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]*){0,5}\Z")


class Inference(msgspec.Struct, kw_only=True):
    """What came of the samples."""

    name: str
    yaml: str
    """The schema; empty when there is none."""
    fields: list[Field] = []
    records: int = 0
    what: str = ""
    """The format that was found."""
    problems: list[str] = []
    """Records that were left out, at most 1,000 told, and what else keeps the schema from being used."""
    left_out: int = 0
    losses: list[check.Loss] = []
    checked: int = 0
    """Samples of the round trip."""

    @property
    def ok(self) -> bool:
        """Whether there is a schema and every sample that could be read comes back whole."""
        return bool(self.yaml) and not self.losses


class Inferer:
    """One pass over the records of one or more files: `start`, then `add` for each, then `finish`."""

    def __init__(self, name: str) -> None:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is no name of a log type: write one to six words such as Custom.Shop.Orders")
        self.name = name
        self.draft: Draft | None = None
        self.left_out = 0
        self.notes: list[str] = []
        self._evidence = Evidence()
        self._problems: list[str] = []
        self._started = False
        self._form = "JSON"
        self._draft_type: LogType | None = None
        self._session: Session | None = None
        self._source = ""
        self._kept: list[check.Sample] = []
        self._kept_bytes = 0
        self._stride = 1
        self._taken = 0

    @property
    def records(self) -> int:
        """Records that were taken in."""
        return self._evidence.records

    def start(self, source: str, head: Sequence[bytes], form: str = "JSON") -> None:
        """The next file; the first one decides, by its first records, whether this is JSON or text. `form` is what
        the records were before they were JSON: of XML all values are texts."""
        if not self._started:
            self._form = form
        self._source = source
        if not self._started:
            self._started = True
            if head and not any(_is_json(data) for data in head[:20]):
                self.draft = detect([data.decode("utf-8", "replace") for data in head])
                self._draft_type = LogType(_load(_draft_yaml(self.draft)))
        if self._draft_type is not None:
            self._session = check.session_of(self._draft_type)

    def add(self, ordinal: int, data: bytes) -> None:
        """One record. Never raises: what cannot be read is reported."""
        if self._session is not None:
            self._add_text(self._session, ordinal, data)
        else:
            self._add_json(ordinal, data)

    def damage(self, ordinal: int, why: str) -> None:
        """A record that could not be read."""
        self.left_out += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(f"{self._source}: record {ordinal}: {why}")

    def _add_json(self, ordinal: int, data: bytes) -> None:
        try:
            value = decode(data)
        except ValueError as error:
            self.damage(ordinal, f"not JSON: {error}")
            return
        if value.__class__ is dict:
            self._evidence.observe(value)
        elif isinstance(value, list) and value and all(item.__class__ is dict for item in value):
            for item in value:
                self._evidence.observe(item)
        else:
            self.damage(ordinal, "not a JSON object")
            return
        self._keep(ordinal, data)

    def _add_text(self, session: Session, ordinal: int, data: bytes) -> None:
        read = session.read(data, ordinal)
        if read is None:
            if ordinal == 0:
                self._keep(ordinal, data)  # a header line
            return
        if not isinstance(read, dict):
            self.damage(ordinal, getattr(read, "detail", "several events in one line"))
            return
        self._evidence.observe({name: value for name, value in read.items() if not name.startswith("p_")})
        self._keep(ordinal, data)

    def _keep(self, ordinal: int, data: bytes) -> None:
        self._taken += 1
        if self._taken % self._stride and ordinal:
            return
        self._kept.append(check.Sample(self._source, ordinal, data))
        self._kept_bytes += len(data) + _KEPT_OVERHEAD
        if self._kept_bytes > KEPT_BYTES:
            self._stride *= 2
            self._kept = [sample for at, sample in enumerate(self._kept) if at % 2 == 0 or not sample.ordinal]
            self._kept_bytes = sum(len(sample.data) + _KEPT_OVERHEAD for sample in self._kept)
            if self._kept_bytes > KEPT_BYTES:
                self._kept = self._kept[: len(self._kept) // 2]
                self._kept_bytes = sum(len(sample.data) + _KEPT_OVERHEAD for sample in self._kept)

    # --- the end --------------------------------------------------------------------------------------

    def finish(self) -> Inference:
        """Decide, write the schema, and read the samples with it."""
        root = self._evidence.root
        root.fold()
        decider = Decider(text=self.draft is not None or self._form == "XML")
        fields = decider.fields(root) or []
        made = Inference(name=self.name, yaml="", records=self.records, left_out=self.left_out)
        made.what = self._form if self.draft is None else self.draft.what
        made.problems = self._problems
        if self.draft is not None:
            fields = _merged(self.draft, fields)
        made.fields = fields
        if not fields or not self.records:
            made.problems.append("no record with a field was found: there is nothing to make a schema of")
            return made
        if not any(field.attributes.get("isEventTime") for top in fields for field in top.walk()):
            choose_event_time(fields)
        if self.draft is None:
            choose_required(fields, self.records)
        made.yaml = self._document(fields, decider.skipped)
        self.check(made, made.yaml)
        return made

    def check(self, made: Inference, text: str) -> None:
        """Read the samples with the schema in `text`; losses and mistakes go into `made`."""
        try:
            kind = LogType(_load(text))
        except ConfigError as error:
            made.losses = [check.Loss("the schema", 0, "", str(problem)) for problem in error.problems]
            return
        made.checked = len(self._kept)
        aside = frozenset(field.name for field in made.fields if field.has_odd)
        made.losses = check.losses(kind, self._kept, self._draft_type, aside)

    def _document(self, fields: list[Field], skipped: list[str]) -> str:
        absent = sorted({text for top in fields for field in top.walk() for text in field.absent})
        parser = self.draft.parser if self.draft is not None else None
        if parser is not None and absent:
            ((kind, options),) = parser.items()
            parser = {kind: {**options, "emptyValues": sorted({*options.get("emptyValues", ()), *absent})}}
        what = self._form if self.draft is None else self.draft.what
        head = [f"From {self.records} records of {what}.", *self.notes, *self._discriminators(fields)]
        if self.draft is not None and self.draft.builtin:
            head.append(f"The built-in log type {self.draft.builtin} reads such lines, too.")
        head += [f"Left out: {reason}" for reason in skipped[:50]]
        return emit.document(
            self.name, fields, parser=parser, head=head,
            lenient=parser is None and (bool(absent) or any(field.has_odd for field in fields)),
            description=f"Inferred from {self.records} records",
        )  # fmt: skip

    def _discriminators(self, fields: list[Field]) -> list[str]:
        """Fields whose value says which other fields a record has."""
        if self.draft is not None:
            return []
        samples = [value for sample in self._kept[:2000] if isinstance(value := decode(sample.data), dict)]
        found = []
        for field in fields:
            if field.type == "string" and names.is_kind(field.name) and (depends := _depending(field.name, samples)):
                found.append(f"{field.name} tells kinds of records apart: {', '.join(sorted(depends)[:5])}")
        return found


def _depending(name: str, samples: list[Event]) -> set[str]:
    """Keys that all records of some values have, and none of the others."""
    groups: dict[str, list[frozenset[str]]] = {}
    for sample in samples:
        if isinstance(value := sample.get(name), str):
            groups.setdefault(value, []).append(frozenset(key for key, item in sample.items() if item is not None))
    if not 2 <= len(groups) <= 50 or len(samples) < 3 * len(groups):
        return set()
    always = [frozenset.intersection(*keys) for keys in groups.values()]
    ever = [frozenset.union(*keys) for keys in groups.values()]
    steady = {
        key
        for key in frozenset.union(*ever)
        if all((key in a) == (key in e) for a, e in zip(always, ever, strict=True))
    }
    return steady - frozenset.intersection(*always)


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(decode(data), (dict, list))
    except ValueError:
        return data.lstrip()[:1] == b"{"


def _load(text: str) -> Any:
    (schema,) = load_schemas(text, "inferred schema", "Custom.Inferred")
    return schema


def _draft_yaml(draft: Draft) -> str:
    fields = [_field(field) for field in draft.fields]
    return emit.document("Custom.Draft", fields, parser=draft.parser, lenient=False, head=[], description="Draft")


def _field(field: dict[str, Any]) -> Field:
    rest = {key: value for key, value in field.items() if key not in ("name", "type")}
    return Field(name=field["name"], path=field["name"], type=field["type"], attributes=rest)


def _merged(draft: Draft, decided: list[Field]) -> list[Field]:
    """The draft's fields with what was decided of them."""
    known = {field.name: field for field in decided}
    merged = []
    for given in draft.fields:
        field, found = _field(given), known.get(given["name"])
        if found is None:
            if field.name not in draft.fixed:
                field.notes.append("never there")
        elif field.name in draft.fixed:
            field.seen, field.of, field.evidence = found.seen, found.of, found.evidence
        else:
            field = found
            if "keyValues" in given:
                field.attributes["keyValues"] = given["keyValues"]
        merged.append(field)
    return merged
