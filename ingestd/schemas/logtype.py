"""A log type ready for use: its schema, and what was compiled from it on first need."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ingestd.model import Column
from ingestd.schemas import compile as compile_
from ingestd.schemas import spec
from ingestd.schemas.columns import columns_of
from ingestd.schemas.expectations import expectations
from ingestd.schemas.strays import Strays
from ingestd.schemas.textreader import TextSchema
from ingestd.schemas.transforms import preparation


class LogType:
    """One schema, compiled lazily: a daemon uses a handful of the log types that it knows."""

    def __init__(self, schema: spec.Schema) -> None:
        self.schema = schema
        self.name = schema.name
        self.prepare = preparation(schema)
        self.strays = Strays(schema)
        self.unexpected = expectations(schema)
        """What is unexpected in a normalised event; None when the schema expects nothing."""
        self.is_straight = not (schema.unroll or schema.lenient or self.prepare or self.unexpected)
        """Whether normalising is all there is to do with a decoded record."""
        names = [name for field in schema.fields for name in (field.source, field.name)]
        self.known = frozenset(name.lower() for name in [*names, schema.unroll] if name)
        """Keys at the top of a record that the schema declares, in lower case."""
        self.required = tuple(
            (field.source.lower(), field.name.lower(), field.name)
            for field in schema.fields
            if field.required and not _made(field)
        )
        """(key, other key, name) of required fields."""
        self.listed = tuple(
            field.source.lower()
            for field in schema.fields
            if field.value.validate is not None and field.value.validate.allow
        )
        """Keys, in lower case, whose values must be of a list: what tells look-alikes apart."""
        self.proofs = (len(self.required), len(self.listed))
        """How many demands the schema makes of a record's keys."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the table."""
        return columns_of(self.schema)

    @cached_property
    def normalise(self) -> compile_.Normalise:
        """The compiled function for decoded events."""
        return compile_.compile_normalise(self.schema, self.strays)

    @cached_property
    def text(self) -> TextSchema:
        """The compiled text parser; only for schemas that have one."""
        return TextSchema(self.schema, self.strays, self.prepare, self.normalise)

    def apply(self, event: dict[str, Any], keep: bool) -> str:
        """Transform and normalise a decoded event in place; returns its event time or `""`."""
        if self.prepare is not None:
            self.prepare(event)
        return self.normalise(event, keep)

    def flag(self, event: dict[str, Any]) -> None:
        """Put what is unexpected in a normalised event under `p_unexpected`, and count it as drift."""
        found = event.get("p_unexpected", {})
        if self.unexpected is not None:
            found = {**self.unexpected(event), **found}
        if found:
            event["p_unexpected"] = found
            self.strays.count_unexpected(found)


def _made(field: spec.Field) -> bool:
    """Whether a transformation may put the field there, so that its key in the record says nothing."""
    return (
        field.key_values is not None or field.copy is not None or field.concat is not None or field.split is not None
    )
