"""Records that are snapshots of resources, for policies: what they look like as rows.

A policy gets the snapshot as it came, a plain dict; no schema describes it. The row keeps it whole, beside what
resources of every kind have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from ingestd.model import Column, row_id, row_id_prefix
from ingestd.schemas import jsontext
from ingestd.schemas.columns import STANDARD
from ingestd.schemas.session import Event, Rejected, Result, SessionInfo, text_of

LOG_TYPE: Final = "Ingestd.Resource"
"""`p_log_type` of every snapshot, whatever its resource type: their rows are one table."""
COLUMNS: Final = (
    Column(name="resource_id", kind="string"),
    Column(name="resource_type", kind="string"),
    Column(name="resource", kind="json"),
    *STANDARD,
)
_IDS: Final = ("ResourceId", "Arn", "Id")
"""Fields that may hold the id, in upper or lower case, the first that does not hold nothing."""
_LONGEST_ID: Final = 2_048
_MOST_ELEMENTS: Final = 0xFFFF  # sub-ordinals have four hex digits


class ResourceSession:
    """Reads the snapshots of one object. `read` never raises but for MemoryError.

    `resource_types` are those of the route, each a name or a pattern with `*`. A record says its own in
    `ResourceType`; one that does not is of the route's type when that is a single name. The snapshots are of the time
    when the object was stored, `modified`: one that is read late is an old one. Without, they are of now.
    """

    def __init__(
        self,
        resource_types: Sequence[str],
        info: SessionInfo,
        modified: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._types = resource_types
        self._only = resource_types[0] if len(resource_types) == 1 and "*" not in resource_types[0] else None
        self._modified = modified
        self._clock = clock
        self._prefix = row_id_prefix(info.identity)
        self._constants: Event = {
            "p_log_type": LOG_TYPE,
            "p_schema_version": 0,
            "p_source_id": info.source_id,
            "p_source_label": info.source_label,
            "p_source_file": info.origin,
        }

    def prime(self, data: Any) -> None:
        """Nothing depends on an object's first record."""

    def read(self, data: Any, ordinal: int, header: Event | None = None) -> Result:
        """The row of a snapshot; a list when the record was an array of them; None for a blank line."""
        data = bytes(data)
        if not data.strip():
            return None
        try:
            record = jsontext.loads(data)
        except ValueError as error:
            return Rejected("invalid_json", str(error)[:2_000], LOG_TYPE)
        if not isinstance(record, list):
            return self._row(record, ordinal, 0, header)
        if len(record) > _MOST_ELEMENTS:
            detail = f"{len(record)} resources in one record; at most {_MOST_ELEMENTS}"
            return Rejected("invalid_json", detail, LOG_TYPE)
        return [self._row(item, ordinal, sub, header) for sub, item in enumerate(record)]

    def _row(self, record: Any, ordinal: int, sub: int, header: Event | None) -> Event | Rejected:
        if not isinstance(record, dict):
            return Rejected("not_an_object", "a snapshot of a resource is a JSON object", LOG_TYPE)
        resource_type = record.get("ResourceType", self._only)
        if not isinstance(resource_type, str):
            return Rejected("invalid", "no ResourceType says of which type the resource is", LOG_TYPE)
        if not any(fnmatchcase(resource_type, wanted) for wanted in self._types):
            detail = f"the route is for {', '.join(self._types)}, not for {resource_type[:200]}"
            return Rejected("unclassified", detail)
        fields = {key.lower(): value for key, value in record.items() if value}
        resource_id = next((fields[key.lower()] for key in _IDS if key.lower() in fields), None)
        if not isinstance(resource_id, str) or len(resource_id) > _LONGEST_ID:
            detail = f"none of {', '.join(_IDS)} is text of at most {_LONGEST_ID} characters"
            return Rejected("invalid", detail, LOG_TYPE)
        now = self._clock()
        taken = self._modified if self._modified is not None and 0 <= self._modified < now else now
        event: Event = {
            "resource_id": resource_id,
            "resource_type": resource_type,
            "resource": record,
            **self._constants,
            "p_row_id": row_id(self._prefix, ordinal, sub),
            "p_event_time": text_of(taken),
            "p_parse_time": text_of(now),
        }
        if header is not None:
            event["p_header"] = header
        return event
