#!/usr/bin/env python3
"""Write the dashboards that Grafana imports, from their descriptions in the YAML files beside this one.

A description has rows of panels; a panel has its query, or several, and what differs from the usual. In queries `{@}`
chooses the daemons picked above the panels and `[~]` is the window of a rate. `--check` changes nothing and fails
when a dashboard is out of date.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
NAMES = ("overview", "source", "detections")
COLUMNS = 24
SCHEMA_VERSION = 39
"""That of Grafana 10.4; newer ones migrate it."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SHORT_FORMS = {"{@": '{job=~"$job",instance=~"$instance"', "[~]": "[$__rate_interval]"}

Json = dict[str, Any]

_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCED, "colorMode": "value", "graphMode": "none", "textMode": "auto"},
    "bargauge": {"reduceOptions": _REDUCED, "orientation": "horizontal", "displayMode": "basic"},
    "table": {"showHeader": True, "cellHeight": "sm"},
}
AS_TABLE = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]


def generated() -> dict[str, str]:
    """Name of each file → its text."""
    described = {name: yaml.safe_load((FOLDER / f"{name}.yml").read_text()) for name in NAMES}
    return {
        f"ingestd-{name}.json": json.dumps(_dashboard(name, described), indent=1, ensure_ascii=False) + "\n"
        for name in NAMES
    }


def _dashboard(name: str, described: dict[str, Json]) -> Json:
    dashboard = described[name]
    choices = [{"name": "job", "metric": "ingestd_build_info"}, {"name": "instance", "metric": "ingestd_build_info"}]
    choices += dashboard.get("variables", [])
    return {
        "uid": f"ingestd-{name}",
        "title": dashboard["title"],
        "description": dashboard["description"],
        "tags": ["ingestd"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [_link(other, described[other]["title"]) for other in NAMES if other != name],
        "templating": {"list": [_datasource(), *(_variable(**choice) for choice in choices)]},
        "panels": _laid_out(dashboard["rows"]),
    }


def _laid_out(rows: list[Json]) -> list[Json]:
    """From left to right, then in the next line; a row of figures is half as high as one of curves."""
    numbers = itertools.count(1)
    top = 0
    panels: list[Json] = []
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        title: Json = {"id": next(numbers), "type": "row", "title": row["title"], "gridPos": place}
        panels.append(title | {"collapsed": False, "panels": []})
        top += 1
        left = 0
        height = 4 if all(panel.get("kind") == "stat" for panel in row["panels"]) else 8
        for panel in row["panels"]:
            width = panel.get("width", 8)
            if left + width > COLUMNS:
                left, top = 0, top + height
            place = {"x": left, "y": top, "w": width, "h": height}
            panels.append({"id": next(numbers), "gridPos": place} | _panel(**panel))
            left += width
        top += height
    return panels


def _panel(*, title: str, kind: str = "timeseries", text: str = "", width: int = 8, **more: Any) -> Json:
    queries = more.pop("queries", None) or [{"expr": more.pop("expr"), "legend": more.pop("legend", "")}]
    panel = {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATASOURCE,
        "targets": [_target(number, kind, **query) for number, query in enumerate(queries)],
        "fieldConfig": {"defaults": _defaults(kind, **more), "overrides": []},
        "options": OPTIONS[kind],
    }
    return panel | ({"transformations": AS_TABLE} if kind == "table" else {})


def _target(number: int, kind: str, *, expr: str, legend: str) -> Json:
    for short, long in SHORT_FORMS.items():
        expr = expr.replace(short, long)
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": legend,
        "instant": kind != "timeseries",
        "range": kind == "timeseries",
        "format": "table" if kind == "table" else "time_series",
    }


def _defaults(
    kind: str,
    *,
    unit: str = "short",
    stacked: bool = False,
    red_from: float | None = None,
    green_from: float | None = None,
) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if green_from is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": green_from}]
    if red_from is not None:
        steps.append({"color": "red", "value": red_from})
    defaults: Json = {"unit": unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if kind == "timeseries":
        curves = {"lineWidth": 1, "fillOpacity": 30 if stacked else 8, "showPoints": "never"}
        return defaults | {"custom": curves | {"stacking": {"mode": "normal" if stacked else "none", "group": "A"}}}
    return defaults | {"color": {"mode": "thresholds"}}


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(*, name: str, metric: str) -> Json:
    """A choice above the panels among the values of a label."""
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _link(name: str, title: str) -> Json:
    return {"title": title, "type": "link", "url": f"/d/ingestd-{name}", "keepTime": True, "includeVars": True}


def main() -> int:
    """Write, or with --check compare; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = {
        name: text
        for name, text in generated().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    }
    for name, text in stale.items():
        print(f"{name} {'is out of date: run deploy/grafana/generate.py' if check else 'written'}")  # noqa: T201 - its output
        if not check:
            (FOLDER / name).write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
