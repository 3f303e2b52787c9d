"""Events that are not as their schema says: told by the daemon, kept in the lake, offered as a change."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.place import Place, event


def test_a_new_field_is_told_kept_and_offered(tmp_path: Path) -> None:
    """From the folder to the diff of the schema, which is a built-in one here."""
    place = Place(tmp_path)
    place.drop("a.json", [event(name, brandNew={"deep": "arn:aws:iam::1:x"}) for name in ("One", "Two")])
    place.run()
    assert "schema drift" in place.log
    assert "brandNew" in place.log
    assert len(place.rows("events", "p_row_id")) == 2
    assert "+  - name: brandNew" in place.command("schema-diff", "AWS.CloudTrail")
    offered = json.loads(place.command("schema-diff", "AWS.CloudTrail", "--json"))
    assert (offered["events"], offered["unexpected"]) == (2, {})
