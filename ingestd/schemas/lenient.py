"""`lenient: true`: a value that cannot be of its type is set aside, and the record stays. Only `required` rejects.

For exports whose vendor promises little: one malformed field of a finding must not cost the finding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingestd.schemas import jsontext
from ingestd.schemas.coerce import Misfit
from ingestd.schemas.logtype import LogType

Event = dict[str, Any]
Fits = list[tuple[Event, str]]


def _key_of(kind: LogType, path: str, record: Event) -> str | None:
    """The key of the record that holds the top-level field at the head of `path`; None if it may not go."""
    name = path.partition(".")[0].partition("[")[0]
    field = next((field for field in kind.schema.fields if field.name == name), None)
    if field is None or field.required:
        return None
    names = {field.name.lower(), field.source.lower()}
    return next((key for key in record if key.lower() in names), None)


def fit(kind: LogType, fresh: Callable[[], Event], normalised: Callable[[Event], Fits]) -> Fits:
    """What `normalised` makes of a `fresh()` record without the top-level values that do not fit. Those come back
    under `p_unknown_fields`, and why under `p_unexpected`. Raises Misfit when leaving out does not help."""
    aside: dict[str, str] = {}
    while True:
        record = fresh()
        values = {key: jsontext.drop_literals(record.pop(key)) for key in aside}
        present = dict.fromkeys(record)
        try:
            with jsontext.keeping_literals():
                fits = normalised(record)
            break
        except Misfit as misfit:
            key = _key_of(kind, misfit.path, present)
            if key is None:
                raise
            aside[key] = misfit.why
    for event, _ in fits:
        jsontext.drop_literals(event)
        if aside:
            event["p_unknown_fields"] = {**event.get("p_unknown_fields", {}), **values}
            event["p_unexpected"] = dict(aside)
    return fits
