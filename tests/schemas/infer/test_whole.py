"""The inference as a whole: bad lines, the round trip, bounds, anything as input, real data."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.schemas.infer import Inferer
from ingestd.schemas.infer.evidence import MOST_NODES

from .build import fields, infer, infer_json

FOLDER = Path(os.environ.get("INGESTD_REAL_CLOUDTRAIL", Path(__file__).parents[4] / "shared" / "data" / "cloudtrail"))


def test_one_bad_line_is_reported_and_not_fatal() -> None:
    """Its place and what is wrong are told; the others count."""
    made = infer([b'{"a": 1}', b"not json", b'{"a": 2}'])
    assert (made.records, made.left_out, made.ok) == (2, 1, True)
    assert "sample: record 1: not JSON" in made.problems[0]


def test_nothing_to_infer_from() -> None:
    """Without a field there is no schema, and a reason."""
    for records in ([], [b"{}"], [b"[]"]):
        made = infer(records)
        assert (made.yaml, made.ok) == ("", False)
        assert "nothing to make a schema of" in made.problems[-1]


def test_a_name_that_is_none() -> None:
    """The mistake says what to write."""
    with pytest.raises(ValueError, match=r"Custom\.Shop\.Orders"):
        Inferer("orders")


def test_what_does_not_come_back_is_a_loss() -> None:
    """A key that cannot be declared is found by the round trip."""
    made = infer_json({"name": "a", "Name": "b"})
    assert [loss.path for loss in made.losses] == ["Name"]
    assert not made.ok


def test_memory_is_bounded_by_paths() -> None:
    """Keys without end become a map instead of evidence without end."""
    inferer = Inferer("Custom.Test")
    inferer.start("sample", [b"{}"])
    for at in range(3000):
        inferer.add(at, orjson.dumps({"box": {f"k{at}-{more}": more for more in range(10)}, f"top{at}": 1}))
    assert inferer._evidence.nodes < MOST_NODES
    assert fields(inferer.finish())["box"]["type"] == "json"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["", "-", "0", "1.5", "true", "{}", '{"a":[1]}', "2024-05-01", "10.0.0.1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=5), max_size=5))
@settings(max_examples=150)
def test_no_json_makes_it_raise(records: list[dict[str, object]]) -> None:
    """Whatever the records are, what comes out is a valid schema or a reason."""
    made = infer([orjson.dumps(record) for record in records])
    assert made.yaml or made.problems
    assert not [loss for loss in made.losses if loss.source == "the schema"]


@given(st.lists(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), max_size=8))
@settings(max_examples=150)
def test_no_lines_make_it_raise(lines: list[bytes]) -> None:
    """Whatever the lines are, what comes out is a valid schema or a reason."""
    made = infer(lines)
    assert made.yaml or made.problems
    assert not [loss for loss in made.losses if loss.source == "the schema"]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="INGESTD_REAL_CLOUDTRAIL names no folder of CloudTrail files")
def test_real_cloudtrail() -> None:
    """All records come back whole; the event time, the indicators and the account ids are found."""
    inferer = Inferer("Custom.Trail")
    for file in sorted(FOLDER.glob("*.json")):
        records = [orjson.dumps(record) for record in orjson.loads(file.read_bytes())["Records"]]
        inferer.start(file.name, records)
        for ordinal, data in enumerate(records):
            inferer.add(ordinal, data)
    made = inferer.finish()
    assert (made.records, made.checked, made.left_out, made.losses) == (1233, 1233, 0, [])
    found = {field.path: field for top in made.fields for field in top.walk()}
    assert [path for path, field in found.items() if field.attributes.get("isEventTime")] == ["eventTime"]
    assert found["sourceIPAddress"].attributes["indicators"] == ["hostname"]
    for path in ("userIdentity.arn", "resources[].ARN"):
        assert found[path].attributes["indicators"] == ["aws_arn"]
    for path in ("userIdentity.accountId", "recipientAccountId", "resources[].accountId"):
        assert (found[path].type, found[path].attributes["indicators"]) == ("string", ["aws_account_id"])
    assert yaml.safe_load(made.yaml)["schema"] == "Custom.Trail"
