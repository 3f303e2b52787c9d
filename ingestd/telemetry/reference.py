"""`docs/metrics.md`, from the catalogue."""

from __future__ import annotations

from ingestd.telemetry.catalogue import CATALOGUE, Declared

_HEAD = """\
# Metrics

Served at `/metrics` of the admin port, for Prometheus. This page is generated from `ingestd/telemetry/catalogue.py`
by `scripts/reference`.

Labels are closed sets, or names from the configuration, the schemas and the detections: `source`, `destination`,
`log_type`, `rule`. No label carries a bucket, a key, an account, a user or the id of a message, so that the number of
series is bounded by the configuration. Beside these there are `ingestd_process_*` (memory, CPU, open files of the
daemon's own process) and `python_gc_*`.

| metric | type | labels | is |
|---|---|---|---|
"""


def generated() -> dict[str, str]:
    """Path of each page within the repository → its text."""
    return {"docs/metrics.md": _HEAD + "".join(_row(declared) for declared in CATALOGUE)}


def _row(declared: Declared) -> str:
    labels = "<br>".join(_label(name, values) for name, values in declared.labels.items())
    return f"| `{declared.name}` | {declared.kind} | {labels} | {declared.help} |\n"


def _label(name: str, values: tuple[str, ...] | None) -> str:
    return f"`{name}`" if values is None else f"`{name}`: {', '.join(values)}"
