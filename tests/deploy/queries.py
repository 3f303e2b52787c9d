"""Every query that is shipped: of dashboards, their choices, and alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import promql_parser
import yaml

from ingestd.telemetry import catalogue
from tests.deploy.tools import DEPLOY

DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
RULES = DEPLOY / "prometheus" / "ingestd.rules.yml"
OF_PROMETHEUS = {"job", "instance"}


@dataclass(frozen=True)
class Query:
    """`where` names its place for people; `legend` is a panel's."""

    where: str
    expression: str
    legend: str = ""

    def __str__(self) -> str:
        return self.where


def panels() -> Iterator[Query]:
    """Of every panel, as Grafana would send them for all daemons and all choices."""
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = re.sub(r"\$(job|instance|source|rule)\b", ".*", target["expr"])
                expression = expression.replace("$__rate_interval", "1m")
                yield Query(f"{file.stem}: {panel['title']} ({target['refId']})", expression, target["legendFormat"])


def choices() -> Iterator[tuple[str, str]]:
    """Metric and label of each choice above the panels."""
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
            if found:
                yield found[1], found[2]


def alert_rules() -> list[dict[str, Any]]:
    """The rules as they stand in the file."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> Iterator[Query]:
    """Of every alert."""
    for rule in alert_rules():
        yield Query(f"{rule['alert']} {rule['labels'].get('because', '')}".strip(), rule["expr"])


class Selector(NamedTuple):
    """Series that a query asks for."""

    name: str
    matchers: list[promql_parser.Matcher]


def selectors(expression: str) -> list[Selector]:
    """All that a query asks for."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(Selector(node.name or "", node.matchers.matchers))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def groupings(expression: str) -> set[str]:
    """Labels that a query groups or matches by, those that it makes itself left out."""
    found: set[str] = set()
    made: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            found.update(node.modifier.matching.labels)
        elif isinstance(node, promql_parser.Call) and node.func.name == "label_replace":
            made.add(node.args[1].val)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found - made


def known_samples() -> dict[str, dict[str, tuple[str, ...] | None]]:
    """Name of each series that a daemon serves → its labels with their closed sets."""
    known: dict[str, dict[str, tuple[str, ...] | None]] = {}
    for declared in catalogue.CATALOGUE:
        if declared.kind == "histogram":
            known |= {f"{declared.name}_{part}": declared.labels for part in ("sum", "count")}
            known[f"{declared.name}_bucket"] = declared.labels | {"le": None}
        else:
            known[declared.name] = declared.labels
    for family in catalogue.REGISTRY.collect():
        if family.name.startswith("ingestd_process_"):
            known |= {sample.name: {} for sample in family.samples}
    return known
