"""Dashboards and alerts ask for what there is. `test_live_queries` asks a running daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingestd.telemetry.catalogue import CATALOGUE
from tests.deploy import queries
from tests.deploy.queries import Query
from tests.deploy.tools import DEPLOY, REPOSITORY, run

KNOWN = queries.known_samples()
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
ALL = [*queries.panels(), *queries.alerts()]


def matched_values(value: str, operator: str) -> list[str]:
    """The values that a matcher names one by one."""
    return value.split("|") if operator in {"MatchOp.Re", "MatchOp.NotRe"} and value != ".*" else [value]


@pytest.mark.parametrize("query", ALL, ids=str)
def test_every_metric_and_label_is_in_the_catalogue(query: Query) -> None:
    """No panel and no alert names a metric, a label or a value of a closed label that no daemon has."""
    for selector in queries.selectors(query.expression):
        if selector.name == "up":
            continue
        assert selector.name in KNOWN, f"{selector.name} is not in ingestd/telemetry/catalogue.py"
        labels = KNOWN[selector.name]
        for matcher in selector.matchers:
            assert matcher.name in labels.keys() | queries.OF_PROMETHEUS, f"{selector.name} has no {matcher.name}"
            closed = labels.get(matcher.name)
            wrong = set(matched_values(matcher.value, str(matcher.op))) - {*(closed or ()), ".*"}
            assert closed is None or not wrong, f"{selector.name}: {matcher.name} is never {wrong}"


@pytest.mark.parametrize("query", ALL, ids=str)
def test_what_is_grouped_by_exists(query: Query) -> None:
    """A group by a label that no series has would put everything into one line."""
    labels = set(queries.OF_PROMETHEUS)
    for selector in queries.selectors(query.expression):
        labels |= KNOWN.get(selector.name, {}).keys()
    assert queries.groupings(query.expression) <= labels


@pytest.mark.parametrize("query", [query for query in queries.panels() if "{{" in query.legend], ids=str)
def test_legends_name_labels_that_are_left(query: Query) -> None:
    """A label that the query aggregates away would show as nothing."""
    left = (
        queries.groupings(query.expression)
        or {label for selector in queries.selectors(query.expression) for label in KNOWN[selector.name]}
        | queries.OF_PROMETHEUS
    )
    assert set(re.findall(r"{{(\w+)}}", query.legend)) <= left


def test_choices_are_labels() -> None:
    """What can be chosen above the panels are values of a label of the metric."""
    found = list(queries.choices())
    assert found
    for metric, label in found:
        assert label in KNOWN[metric].keys() | queries.OF_PROMETHEUS


def test_every_metric_is_on_a_dashboard() -> None:
    """A metric that nobody sees is not worth counting."""
    asked = {selector.name for query in queries.panels() for selector in queries.selectors(query.expression)}
    seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} | asked
    assert {declared.name for declared in CATALOGUE} <= seen


def test_the_dashboards_are_those_described() -> None:
    """The JSON is what the descriptions make."""
    made = run("python", DEPLOY / "grafana" / "generate.py", "--check")
    assert made.returncode == 0, made.stdout


@pytest.mark.parametrize("file", queries.DASHBOARDS, ids=lambda file: file.stem)
def test_grafana_can_lay_it_out(file: Path) -> None:
    """Ids are unique, panels stand within 24 columns and on no other panel; each says in which unit."""
    dashboard = json.loads(file.read_text())
    panels = dashboard["panels"]
    assert dashboard["uid"] == file.stem
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"]


def test_promtool_accepts_the_rules() -> None:
    """Rules and the sample configuration are read without a complaint."""
    for kind, file in (("rules", queries.RULES), ("config", DEPLOY / "prometheus" / "prometheus.yml")):
        checked = run("promtool", "check", kind, file)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "FAILED" not in checked.stdout + checked.stderr


def test_alerts_fire_when_they_must_and_only_then() -> None:
    """The cases beside the rules: each alert fires in one, and none at a daemon that is well."""
    tested = run("promtool", "test", "rules", DEPLOY / "prometheus" / "ingestd.rules.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    text = (DEPLOY / "prometheus" / "ingestd.rules.test.yml").read_text()
    for rule in queries.alert_rules():
        assert f"alertname: {rule['alert']}\n" in text
        assert f"because: {rule['labels'].get('because', '')}" in text


def test_every_alert_has_its_runbook() -> None:
    """One page per alert, none left over; each says what it means and what to do."""
    pages = {f"docs/runbooks/{page.name}" for page in RUNBOOKS.glob("Ingestd*.md")}
    assert {rule["annotations"]["runbook_url"] for rule in queries.alert_rules()} == pages
    for rule in queries.alert_rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        assert rule["labels"]["severity"] in {"critical", "warning"}
        text = (REPOSITORY / rule["annotations"]["runbook_url"]).read_text()
        assert [line for line in text.splitlines() if line.startswith("#")] == [
            f"# {rule['alert']}",
            "## What it means",
            "## Look",
            "## Do",
        ]


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_runbooks_name_what_there_is(page: Path) -> None:
    """Metrics are those of the catalogue, commands and log lines those of the program, links lead somewhere."""
    text = page.read_text()
    families = {declared.name for declared in CATALOGUE} | KNOWN.keys()
    assert set(re.findall(r"\bingestd_[a-z_]+\b", text)) <= families
    commands = set(re.findall(r"^  (\w[\w-]*)", run("ingestd", "--help").stdout.split("Commands:")[1], re.MULTILINE))
    assert set(re.findall(r"`ingestd ([a-z][a-z-]+)", text)) <= commands
    occurrences = (REPOSITORY / "ingestd/telemetry/occurrences.py").read_text()
    for phrase in re.findall(r"`([a-z]+(?:,? [a-z-]+)+)`", text):
        assert phrase.startswith(("systemctl", "kubectl", "ingestd", "df")) or f'"{phrase}"' in occurrences, phrase
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
