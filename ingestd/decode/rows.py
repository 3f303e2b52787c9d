"""Typed rows (of Parquet, Avro) as records: JSON texts, which is what the rooms after this one read."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any, Final

import orjson

from ingestd.decode.block import Damage, Fatal, Record
from ingestd.decode.limits import Limits

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_NAIVE_UTC
_LEAST_ROW_BYTES: Final = 256
"""What a row counts at least: a column of a billion nulls is a bomb, too, and a row costs more than its text."""


def plain(value: Any) -> Any:
    """What JSON has for a value that it does not know: numbers stay numbers, bytes become text or base64."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() and abs(value.adjusted()) < 300 else str(value)
    return str(value)


class RowWriter:
    """Rows of one document, whose bytes together may be no bomb."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._written = 0

    def record(self, row: dict[str, Any], stored: int, offset: int) -> Record:
        """The row as JSON without its nulls at the top, or what is wrong with it. `stored` bytes of the document have
        become rows so far. Raises Fatal when the rows are out of all proportion to them."""
        try:
            data = orjson.dumps({name: value for name, value in row.items() if value is not None}, plain, _OPTIONS)
        except (orjson.JSONEncodeError, RecursionError) as error:
            return Damage(reason="unreadable_row", detail=f"the row has no JSON form: {error}", offset=offset)
        limits = self._limits
        self._written += max(len(data), _LEAST_ROW_BYTES)
        if self._written > limits.ratio_from_bytes and self._written > limits.max_ratio * stored:
            detail = f"{stored} bytes became {self._written} bytes of rows: more than {limits.max_ratio} to one"
            raise Fatal("expansion_limit", detail)
        if len(data) > limits.max_record_bytes:
            detail = f"the row is longer than {limits.max_record_bytes} bytes"
            payload = data[: limits.payload_bytes]
            return Damage(reason="record_too_long", detail=detail, payload=payload, offset=offset)
        return data
