"""Where things lie in the lake.

    events/p_log_type=AWS.CloudTrail/p_event_date=2026-07-01/20260701T120000-1f0c….parquet
    rule_matches/… rule_errors/… rejects/…       the same two keys
    _staging/<batch>/<n>.parquet                 written, not yet committed; readers skip names that begin with _

The keys are Hive's, which DuckDB, Trino, Spark and Athena read as columns. Names of log types come from users'
schemas and are treated as hostile: what is not plain is percent-encoded, so a name cannot leave its folder.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from urllib.parse import quote, unquote

from ingestd.model import Table

STAGING = "_staging"
NO_LOG_TYPE = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for a null key: rejects that fit no log type."""

MAX_NAME_BYTES = 180
_KEY = "p_log_type="
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def new_batch_id() -> str:
    """Unique, and in order of time when sorted by name."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(8)}"


def folder(table: Table, log_type: str, day: str) -> str:
    """The folder of a table's rows of one log type and day. Raises ValueError when `day` is not `YYYY-MM-DD`."""
    if not _DAY.fullmatch(day):
        raise ValueError(f"not a day: {day!r}")
    return f"{table}/{log_type_folder(log_type)}/p_event_date={day}"


def file_name(batch_id: str, number: int) -> str:
    """The name of a batch's nth file."""
    return f"{batch_id}-{number}.parquet"


def staging_folder(batch_id: str) -> str:
    """Where the files of a batch are written first."""
    return f"{STAGING}/{batch_id}"


def log_type_folder(log_type: str) -> str:
    """The folder of a log type within a table."""
    if not log_type:
        return f"{_KEY}{NO_LOG_TYPE}"
    name = quote(log_type, safe="")
    if len(name) > MAX_NAME_BYTES:
        name = f"{name[:MAX_NAME_BYTES]}~{hashlib.blake2b(log_type.encode(), digest_size=8).hexdigest()}"
    return _KEY + name


def log_type_of(folder_name: str) -> str:
    """The log type of such a folder (of a very long name, its beginning)."""
    return unquote(folder_name.removeprefix(_KEY))
