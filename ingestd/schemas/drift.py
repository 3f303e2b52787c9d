"""What events show that their schema does not have, as a change to the schema.

The lake keeps unknown fields by their path. Here they are put back to where they were, looked at as samples are, and
added to the schema's own text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ingestd.schemas import spec
from ingestd.schemas.infer import emit
from ingestd.schemas.infer.decide import Decider, Field
from ingestd.schemas.infer.evidence import Evidence
from ingestd.schemas.infer.update import updated

_STEP: Final = re.compile(r"([^.\[]+)((?:\[\d+\])*)\.")
_INDEX: Final = re.compile(r"\[\d+\]")
_MOST_UNEXPECTED: Final = 1000
_REST: Final = "…"
"""Where unknown fields go that are too many for a path each: not looked at."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What to change about a schema."""

    text: str
    """The schema with the fields that it lacks; as it was, when it lacks none."""
    diff: list[str]
    fields: list[Field]
    unexpected: dict[str, int]
    """`path: why` → events with a value that the schema does not expect; the lake keeps them all the same."""
    events: int


class DriftReport:
    """Takes events that had unknown fields or unexpected values, in bounded memory."""

    def __init__(self, schema: spec.Schema) -> None:
        self._schema = schema
        self._evidence = Evidence()
        self._unexpected: Counter[str] = Counter()
        self._events = 0

    def add(self, unknown: Mapping[str, Any], unexpected: Mapping[str, Any]) -> None:
        """`p_unknown_fields` and `p_unexpected` of one event."""
        self._events += 1
        record: dict[str, Any] = {}
        places: dict[str, dict[str, Any]] = {}
        for path, value in unknown.items():
            if path != _REST and path not in unexpected:
                _put(record, places, path, value, self._schema.fields)
        if record:
            self._evidence.observe(record)
        for path, why in unexpected.items():
            text = f"{_INDEX.sub('[]', path)}: {why}"
            if text in self._unexpected or len(self._unexpected) < _MOST_UNEXPECTED:
                self._unexpected[text] += 1

    def offer(self) -> Offer:
        """The change."""
        root = self._evidence.root
        root.fold()
        fields = Decider(text=False).fields(root) or []
        text, diff = self._changed(fields)
        return Offer(
            text=text, diff=diff, fields=fields, unexpected=dict(self._unexpected.most_common()), events=self._events
        )

    def _changed(self, fields: list[Field]) -> tuple[str, list[str]]:
        schema = self._schema
        if not schema.fields:  # known by name alone
            head = [f"From {self._events} events."]
            text = emit.document(
                schema.name, fields, parser=None, lenient=False, head=head, description="From events in the lake"
            )
            return (text, [f"+{line}" for line in text.splitlines()]) if fields else ("", [])
        old = Path(schema.file).read_text("utf-8")
        change = updated(old, schema.file, fields, self._events)
        return change.text, change.diff


def _put(
    record: dict[str, Any],
    places: dict[str, dict[str, Any]],
    path: str,
    value: Any,
    fields: tuple[spec.Field, ...],
) -> None:
    """Put the value where it was. Only declared objects are gone into: names may have dots themselves. `places` holds
    the objects made so far by their path."""
    box, at = record, 0
    while (step := _STEP.match(path, at)) is not None:
        name, depth = step[1], step[2].count("[")
        inner = next((field.value for field in fields if field.name == name), None)
        for _ in range(depth):
            inner = inner.element if inner is not None else None
        if inner is None or inner.kind != "object":
            break
        below = places.get(path[: step.end()])
        if below is None:
            below = places[path[: step.end()]] = {}
            if depth:
                box.setdefault(name, []).append(_nested(below, depth - 1))
            else:
                box[name] = below
        box, fields, at = below, inner.fields, step.end()
    box[path[at:]] = value


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value
