"""Records that are results of work by the clock: rows of scheduled queries, findings of correlation rules.

Each becomes an event for the detections that it is meant for. It is no row of a log type's table: what a query found
lies in the lake already.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

from ingestd.model import row_id, row_id_prefix
from ingestd.schemas import jsontext
from ingestd.schemas.session import Event, Rejected, Result, SessionInfo, text_of

QUERY: Final = "Ingestd.Query"
"""`p_log_type` of the rows of queries."""
CORRELATION: Final = "Ingestd.Correlation"
"""`p_log_type` of what correlation rules found."""
LOG_TYPES: Final = {"query": QUERY, "correlation": CORRELATION}

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})?")


class ResultSession:
    """Reads the results of one turn. `read` never raises but for MemoryError.

    The object's origin says whose they are: `kind` (`query` or `correlation`), `name`, and the `time` of the turn. A
    record is `{"result": {…}}`, or `{"error": {"type", "text"}}` when the turn failed.
    """

    def __init__(self, info: SessionInfo, clock: Callable[[], float] = time.time) -> None:
        self._prefix = row_id_prefix(info.identity)
        self._clock = clock
        self._time = info.origin.get("time", "")
        self._constants: Event = {
            "kind": info.origin.get("kind", ""),
            "name": info.origin.get("name", ""),
            "p_log_type": LOG_TYPES.get(info.origin.get("kind", ""), QUERY),
            "p_source_id": info.source_id,
            "p_source_label": info.source_label,
        }

    def prime(self, data: Any) -> None:
        """Nothing depends on an object's first record."""

    def read(self, data: Any, ordinal: int, header: Event | None = None) -> Result:
        """The event of a result."""
        try:
            record = jsontext.loads(bytes(data))
        except ValueError as error:
            return Rejected("invalid_json", str(error)[:2_000], self._constants["p_log_type"])
        if not isinstance(record, dict) or not record.keys() & {"result", "error"}:
            return Rejected("invalid", "neither a result nor an error", self._constants["p_log_type"])
        result = record.get("result")
        own = result.get("p_event_time") if isinstance(result, dict) else None
        return {
            **record,
            **self._constants,
            "p_row_id": row_id(self._prefix, ordinal),
            "p_event_time": own if isinstance(own, str) and _TIME.fullmatch(own) else self._time,
            "p_parse_time": text_of(self._clock()),
        }
