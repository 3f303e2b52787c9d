"""Reads what a run left behind, with its own code, and says what differs from what must be there."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from tests.proofs.world import Expectation

ALERTS = """
    SELECT detection_id, dedup, match_count, alert_id
    FROM alert_windows JOIN alert_first_matches USING (alert_id) WHERE alerted_at IS NOT NULL
"""


def parquet_rows(lake: Path, table: str, columns: list[str]) -> list[tuple[object, ...]]:
    """The columns of every published row of a table."""
    rows: list[tuple[object, ...]] = []
    for path in sorted((lake / table).rglob("*.parquet")):
        data = pq.ParquetFile(path).read(columns=columns)
        rows.extend(zip(*(data.column(name).to_pylist() for name in columns), strict=True))
    return rows


def differences(lake: Path, state: Path, sent: Path, expectation: Expectation) -> list[str]:
    """One line for each thing that is not as it must be; empty when all is well."""
    found: list[str] = []
    events = Counter(row[0] for row in parquet_rows(lake, "events", ["eventID"]))
    found += _against("event", Counter(expectation.event_ids), events)
    row_ids = Counter(row[0] for row in parquet_rows(lake, "events", ["p_row_id"]))
    found += [f"row id {row_id} is there {count} times" for row_id, count in row_ids.items() if count > 1][:5]
    matches = Counter((str(r[0]), str(r[1])) for r in parquet_rows(lake, "rule_matches", ["p_rule_id", "dedup"]))
    found += _against("rule match", expectation.matches, matches)
    found += _alerts(state, sent, expectation)
    rejected = parquet_rows(lake, "rejects", ["reason"]) + parquet_rows(lake, "rule_errors", ["p_rule_id"])
    found += [f"{len(rejected)} rejects or rule errors, first {rejected[0]}"] if rejected else []
    staged = [path for path in lake.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    found += [f"left behind in the lake: {path.name}" for path in staged][:3]
    return found


def _alerts(state: Path, sent: Path, expectation: Expectation) -> list[str]:
    with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as database:
        rows = database.execute(ALERTS).fetchall()
    counted = Counter({(rule, dedup): count for rule, dedup, count, _ in rows})
    found = _against("alert count", Counter(expectation.alerts()), counted)
    delivered = (
        Counter(json.loads(line)["alert_id"] for line in sent.read_text().splitlines())
        if sent.exists()
        else Counter()
    )
    found += _against("alert in the file destination", Counter({row[3]: 1 for row in rows}), delivered)
    return found


def _against(what: str, wanted: Counter, got: Counter) -> list[str]:  # type: ignore[type-arg]
    lines = []
    for label, keys in (("missing", wanted - got), ("too many", got - wanted)):
        if keys:
            some = ", ".join(f"{key} x{count}" for key, count in list(keys.items())[:3])
            lines.append(f"{what}: {label} {sum(keys.values())}, e.g. {some}")
    return lines
