"""Who gets an alert: names first, then severity, log type and kind; nobody loses an alert by a typing error."""

from __future__ import annotations

import pytest

from ingestd.alerts.destinations.memory import Config
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing, Rule
from ingestd.state import outbox
from ingestd.state.memory import MemoryState
from tests.alerts.samples import Clock, match

ROUTING = Routing(
    [
        Rule(name="pager", severities=frozenset({"CRITICAL"})),
        Rule(name="cloud", log_types=frozenset({"AWS.CloudTrail", "GCP.AuditLog"})),
        Rule(name="errors", kinds=frozenset({"error", "system"})),
        Rule(name="quiet", default=False),
    ]
)


@pytest.mark.parametrize(
    ("names", "kind", "severity", "log_types", "expected"),
    [
        (None, "rule", "CRITICAL", ["Okta.SystemLog"], ("pager",)),
        (None, "rule", "LOW", ["AWS.CloudTrail", "Okta.SystemLog"], ("cloud",)),
        (None, "rule", "CRITICAL", ["GCP.AuditLog"], ("pager", "cloud")),
        (None, "rule", "LOW", ["Okta.SystemLog"], ()),
        (None, "error", "LOW", ["Okta.SystemLog"], ("errors",)),
        (None, "system", "HIGH", [], ("cloud", "errors")),
        (("quiet",), "rule", "CRITICAL", ["AWS.CloudTrail"], ("quiet",)),
        (("pager", "quiet", "pager"), "rule", "INFO", [], ("pager", "quiet")),
        (("SKIP",), "rule", "CRITICAL", ["AWS.CloudTrail"], ()),
        ((), "rule", "CRITICAL", ["AWS.CloudTrail"], ()),
    ],
)
def test_receivers(
    names: tuple[str, ...] | None, kind: str, severity: str, log_types: list[str], expected: tuple[str, ...]
) -> None:
    """Names that the detection gives win; without any, every destination takes what fits it."""
    found = ROUTING.receivers(names, kind=kind, severity=severity, log_types=log_types)
    assert (found.names, found.unknown) == (expected, ())


def test_an_unknown_name_falls_back_to_default_routing() -> None:
    """Known names get the alert, and default routing takes the place of the unknown one."""
    found = ROUTING.receivers(("quiet", "gone"), kind="rule", severity="CRITICAL", log_types=[])
    assert found.names == ("quiet", "pager", "cloud")
    assert found.unknown == ("gone",)


def test_the_configuration_gives_the_rules() -> None:
    """A destination's severities, log types, kinds and default become its rule."""
    routing = Routing.from_configs(
        {
            "all": Config(type="memory"),
            "high": Config(type="memory", severities=("HIGH",), log_types=("A",), kinds=("rule",)),
            "named": Config(type="memory", default=False),
        }
    )

    def receivers(**facts: object) -> tuple[str, ...]:
        wanted = {"kind": "rule", "severity": "HIGH", "log_types": ["A"]} | facts
        return routing.receivers(None, **wanted).names  # type: ignore[arg-type]

    assert receivers() == ("all", "high")
    assert receivers(severity="LOW") == ("all",)
    assert receivers(log_types=["B"]) == ("all",)
    assert receivers(kind="policy") == ("all",)


async def test_an_unknown_name_is_kept_as_undeliverable() -> None:
    """The alert goes by default routing, and a failed delivery with the reason shows the unknown name."""
    state = MemoryState()
    alerts = Alerts(state, ROUTING, Clock())
    await alerts.record([match(destinations=("gone",), severity="CRITICAL", log_type="Okta.SystemLog")])
    assert await state.read(outbox.waiting) == {"pager": 1}
    failed = await alerts.failed()
    assert [(row.destination, row.attempts) for row in failed] == [("gone", 0)]
    assert "configured" in failed[0].error
    await state.close()


async def test_without_destinations_an_alert_is_listed_all_the_same() -> None:
    """Where nobody is to be told, alerts are in the list and nothing waits."""
    state = MemoryState()
    alerts = Alerts(state, Routing(), Clock())
    await alerts.record([match()])
    listed = await alerts.list()
    assert [entry.deliveries for entry in listed] == [()]
    assert await state.read(outbox.waiting) == {}
    await state.close()
