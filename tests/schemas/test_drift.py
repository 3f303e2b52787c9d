"""What events show that their schema does not have, as a change to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ingestd.model import Drift
from ingestd.schemas import SessionInfo
from ingestd.schemas.drift import DriftReport, Offer
from ingestd.schemas.registry import Registry

SCHEMA = """\
# Orders of the web shop.
schema: Custom.Shop
fields:
  - {name: id, type: string, required: true}  # by the till
  - {name: state, type: string, expect: {values: [new, paid]}}
  - name: customer
    type: object
    fields:
      - {name: name, type: string}
  - name: items
    type: array
    element:
      type: object
      fields:
        - {name: sku, type: string}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """With the schema of a shop."""
    (tmp_path / "shop.yml").write_text(SCHEMA)
    return Registry.load([tmp_path])


def events_of(registry: Registry, log_type: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    """The records as events."""
    import orjson

    session = registry.classifier([log_type]).session(SessionInfo(identity="file:a#1"))
    return [event for record in records if isinstance(event := session.read(orjson.dumps(record), 0), dict)]


def offered(registry: Registry, log_type: str, *records: dict[str, Any]) -> Offer:
    """What is offered for these records."""
    report = DriftReport(registry.schema(log_type))
    for event in events_of(registry, log_type, *records):
        report.add(event.get("p_unknown_fields", {}), event.get("p_unexpected", {}))
    return report.offer()


NEW = {
    "id": "1",
    "coupon": "X7",
    "customer": {"name": "Ada", "ip": "198.51.100.7", "home": {"zip": "01234"}},
    "items": [{"sku": "a", "price": 1.5}, {"sku": "b", "price": 2.5}],
    "a.dot": True,
}


def test_unknown_fields_are_added_where_they_were(registry: Registry) -> None:
    """With type and indicators, inside objects and arrays, comments kept, nothing else changed."""
    offer = offered(registry, "Custom.Shop", NEW, {**NEW, "id": "2"})
    fields = {field["name"]: field for field in yaml.safe_load(offer.text)["fields"]}
    customer = {field["name"]: field for field in fields["customer"]["fields"]}
    assert fields["coupon"] == {"name": "coupon", "type": "string"}
    assert customer["ip"] == {"name": "ip", "type": "string", "indicators": ["ip"]}
    assert customer["home"]["fields"] == [{"name": "zip", "type": "string"}]
    assert {"name": "price", "type": "float"} in fields["items"]["element"]["fields"]
    assert fields["a.dot"]["type"] == "boolean"
    assert "# by the till" in offer.text
    assert [line for line in offer.diff if line.startswith("-") and not line.startswith("---")] == []


def test_with_the_change_nothing_is_unknown_any_more(registry: Registry, tmp_path: Path) -> None:
    """The offer can be taken as it is."""
    offer = offered(registry, "Custom.Shop", NEW)
    (tmp_path / "shop.yml").write_text(offer.text)
    changed = Registry.load([tmp_path])
    assert offered(changed, "Custom.Shop", NEW).fields == []
    assert changed.take_drift() == []


def test_unexpected_values_are_told_and_are_no_unknown_fields(registry: Registry) -> None:
    """Their rows are kept; the schema is not changed for them."""
    offer = offered(registry, "Custom.Shop", {"id": "1", "state": "lost"}, {"id": "2", "state": "lost"})
    assert offer.unexpected == {"state: 'lost' is not a known value": 2}
    assert (offer.diff, offer.text) == ([], SCHEMA)


def test_a_log_type_known_by_name_gets_a_whole_schema(registry: Registry) -> None:
    """Its fields are discovered."""
    name = next(name for name in registry.names if not registry.schema(name).fields)
    offer = offered(registry, name, {"when": "2024-05-01T10:00:00Z", "ip": "198.51.100.7"})
    made = yaml.safe_load(offer.text)
    assert made["schema"] == name
    assert {field["name"]: field["type"] for field in made["fields"]} == {"when": "timestamp", "ip": "string"}


def test_drift_is_taken_once(registry: Registry) -> None:
    """Each kind by its path, in records; two elements of one record count once."""
    events_of(registry, "Custom.Shop", NEW, {"id": "2", "state": "lost"})
    drift = registry.take_drift()
    assert Drift(log_type="Custom.Shop", kind="unexpected_value", path="state", records=1) in drift
    assert Drift(log_type="Custom.Shop", kind="unknown_field", path="items[].price", records=1) in drift
    assert registry.take_drift() == []


def test_what_is_known_by_name_alone_does_not_drift(registry: Registry) -> None:
    """Every field of it is unknown, which says nothing."""
    name = next(name for name in registry.names if not registry.schema(name).fields)
    events_of(registry, name, {"anything": 1})
    assert registry.take_drift() == []


def test_paths_that_mean_nothing_are_taken_as_names() -> None:
    """Whatever stands in the lake."""
    report = DriftReport(Registry.load([]).schema("AWS.CloudTrail"))
    report.add({"userIdentity.": 1, "[0].x": 2, "...": 3, "": 4, "…": [["x", 1]]}, {})
    assert report.offer().events == 1
