"""Lookup tables, from a file of the fork or a folder beside it to a rule's context and the lake's rows."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from ingestd import assembly
from ingestd.daemon import Daemon
from tests.e2e.place import Place, event

RULE = """
def rule(event):
    return event.deep_get("p_enrichment", "owners", "recipientAccountId") is not None


def title(event):
    owner = event.deep_get("p_enrichment", "owners", "recipientAccountId", "team")
    return f"{event['eventName']} in the account of {owner}"


def alert_context(event):
    return {"enrichment": event["p_enrichment"], "ana": event.lookup("users", "ana")["floor"]}
"""


def _table(place: Place, name: str, key: str, selectors: list[str], **fields: Any) -> None:
    uses = [{"LogType": "AWS.CloudTrail", "Selectors": selectors}]
    mapping = {"PrimaryKey": key, "AssociatedLogTypes": uses}
    data = {"AnalysisType": "lookup_table", "LookupName": name, "Enabled": True, "LogTypeMap": mapping}
    place.item(name, {**data, **fields})


def _place(folder: Path) -> Place:
    place = Place(folder)
    place.rule("Uses.Tables", RULE)
    _table(place, "owners", "account", ["recipientAccountId"], Filename="owners.csv")
    (folder / "rules" / "owners.csv").write_text("account,team\n111122223333,blue\n")
    _table(
        place, "exits", "ip", ["sourceIPAddress", "p_any_ip_addresses"], Refresh={"ObjectPath": "s3://b/d/tor.csv"}
    )
    _table(place, "users", "name", ["$.userIdentity.userName"], Refresh={"ObjectPath": "s3://b/users.jsonl"})
    _table(place, "absent", "x", ["eventName"], Refresh={"ObjectPath": "s3://b/absent.csv"})
    (folder / "lookups").mkdir()
    (folder / "lookups" / "tor.csv").write_text("ip,kind\n203.0.113.0/24,network\n198.51.100.1,address\n")
    (folder / "lookups" / "users.jsonl").write_text('{"name": "ana", "floor": 3}\n')
    place.config["enrichment"] = {"paths": [str(folder / "lookups")], "refresh_secs": 1}
    return place


def test_events_carry_what_tables_know_of_them(tmp_path: Path) -> None:
    """By key and by network, for a field, a nested one and a list; rules and the lake see it; a table without data is
    told of, and the others work."""
    place = _place(tmp_path)
    place.drop("some.log", [event("GetObject"), event("PutObject", recipientAccountId="444455556666")])
    place.run()
    (alert,) = place.alerts()
    network = {"ip": "203.0.113.0/24", "kind": "network", "p_match": "203.0.113.7"}
    enrichment = {
        "owners": {"recipientAccountId": {"account": "111122223333", "team": "blue", "p_match": "111122223333"}},
        "exits": {"sourceIPAddress": network, "p_any_ip_addresses": [network]},
        "users": {"userIdentity.userName": {"name": "ana", "floor": 3, "p_match": "ana"}},
    }
    assert alert["title"] == "GetObject in the account of blue"
    assert alert["context"] == {"enrichment": enrichment, "ana": 3}
    rows = {str(row[0]): json.loads(str(row[1])) for row in place.rows("events", "eventName", "p_enrichment")}
    assert rows["GetObject"] == enrichment
    assert set(rows["PutObject"]) == {"exits", "users"}
    assert "absent: no data: put absent.csv into a folder of enrichment.paths" in place.log


async def test_a_table_that_is_replaced_reaches_the_workers(tmp_path: Path) -> None:
    """One beside the fork by itself, one in the fork by a reload."""
    place = _place(tmp_path)
    config = place.write_config()
    daemon = Daemon(config, assembly.load_checked(config))
    task = asyncio.create_task(daemon.run())
    await _until(lambda: daemon.ready or task.done())
    numbers = itertools.count()

    async def seen(title: str, floor: int) -> bool:
        """Whether one more event is seen so."""
        number = next(numbers)
        (tmp_path / "next").write_text(json.dumps(event(f"E{number}")))
        os.rename(tmp_path / "next", place.inbox / f"{number}.log")
        await _until(lambda: len(place.alerts()) > number)
        (alert,) = (alert for alert in place.alerts() if alert["title"].startswith(f"E{number} "))
        return bool(alert["title"].endswith(title) and alert["context"]["ana"] == floor)

    assert await seen("blue", 3)
    (tmp_path / "lookups" / "new").write_text('{"name": "ana", "floor": 4}\n')
    os.replace(tmp_path / "lookups" / "new", tmp_path / "lookups" / "users.jsonl")
    async with asyncio.timeout(60):
        while not await seen("blue", 4):
            pass
    (tmp_path / "rules" / "owners.csv").write_text("account,team\n111122223333,green\n")
    assert await seen("blue", 4)
    assert await daemon.reload() == []
    assert await seen("green", 4)
    daemon.stop("the test is over")
    async with asyncio.timeout(60):
        assert await task == 0


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        await asyncio.sleep(0.02)


@pytest.mark.skipif("INGESTD_CORPUS" not in os.environ, reason="INGESTD_CORPUS names no checkout of a public corpus")
def test_the_tables_of_the_public_corpus_are_live(tmp_path: Path) -> None:
    """Each enabled one that is a file, under its published name; a rule's title tells where an address is."""
    place = Place(tmp_path)
    lookups = tmp_path / "lookups"
    lookups.mkdir()
    (lookups / "tor_exit_nodes.csv").write_text("ip\n203.0.113.7\n")
    (lookups / "misp.jsonl").write_text('{"cidr": "203.0.113.0/24"}\n')
    (lookups / "traildiscover.jsonl").write_text('{"eventName": "ConsoleLogin"}\n')
    entries: dict[str, dict[str, Any]] = {
        "location": {"city": "Berlin", "country": "DE", "region": "Berlin"},
        "asn": {"asn": "AS1", "domain": "x.example"},
        "privacy": {"tor": True},
    }
    for name, entry in entries.items():
        writer = MMDBWriter(ip_version=6, ipv4_compatible=True)
        writer.insert_network(IPSet(["203.0.113.0/24"]), entry)
        writer.to_db_file(str(lookups / f"{name}.mmdb"))
    place.config["detections"]["paths"] = [os.environ["INGESTD_CORPUS"]]
    place.config["enrichment"] = {"paths": [str(lookups)]}
    root = {"userIdentity": {"type": "Root"}, "responseElements": {"ConsoleLogin": "Success"}}
    place.drop("some.log", [event("ConsoleLogin", eventSource="signin.amazonaws.com", **root)])
    place.run()
    assert '"lookup_tables": 6' in place.log
    (row,) = place.rows("events", "p_enrichment")
    wanted = {"ipinfo_asn", "ipinfo_location", "ipinfo_privacy", "tor_exit_nodes", "TrailDiscover"}
    assert set(json.loads(str(row[0]))) == wanted
    titles = {alert["detection_id"]: alert["title"] for alert in place.alerts()}
    assert "(203.0.113.7 in Berlin, Berlin in DE)" in titles["AWS.Console.RootLogin"]
