"""What every notice parser promises: any body gives an answer, and never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd import notices
from ingestd.model import ObjectRef
from ingestd.notices.base import Notice, Unknown
from tests.azure.servers import as_cloud_event, event
from tests.gcp.servers import told
from tests.gcp.storage import Stored
from tests.notices.envelopes import eventbridge_event, in_sns, s3_event, security_lake_notice

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

KNOWN: list[dict[str, Any]] = [
    {"ingestd": "file", "root": "/inbox", "path": "a.log", "size": 3},
    {"objects": [{"store": "s3", "bucket": "logs", "key": "a.gz", "etag": "e1"}]},
    s3_event(),
    eventbridge_event(),
    security_lake_notice("a.gz"),
    {"s3Bucket": "logs", "s3ObjectKey": ["a.gz"]},
    {"Event": "s3:TestEvent"},
    event("logs", "a.json", eTag="0x8D1", contentLength=3),
    as_cloud_event(event("logs", "a.json", kind="BlobRenamed", destinationUrl="https://a.blob.core.windows.net/b/c")),
    in_sns(json.dumps(s3_event())),
    in_sns("hello") | {"Type": "SubscriptionConfirmation"},
]


def _paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document there is a value."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(found for key, value in inner for found in _paths(value, (*path, key)))]


def _replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value in one place."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = _replaced(document[path[0]], path[1:], value)
    return copy


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    """Bytes that are no notice are unknown, with a bounded detail."""
    answer = notices.parse(body, {})
    assert isinstance(answer, Notice | Unknown)
    if isinstance(answer, Unknown):
        assert len(answer.detail) < 2_000


@given(JSON)
def test_any_json_gets_an_answer(document: Any) -> None:
    """JSON that is no notice is unknown."""
    assert isinstance(notices.parse(json.dumps(document).encode(), {}), Notice | Unknown)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: next(iter(known)))
@given(data=st.data())
def test_a_notice_with_any_value_replaced_gets_an_answer(known: dict[str, Any], data: st.DataObject) -> None:
    """A mislabelled field never raises, however deep it lies."""
    broken = _replaced(known, data.draw(st.sampled_from(_paths(known))), data.draw(JSON))
    assert isinstance(notices.parse(json.dumps(broken).encode(), {}), Notice | Unknown)


@given(JSON)
def test_whatever_a_topic_sends_gets_an_answer(document: Any) -> None:
    """What is in an envelope is as doubtful as the envelope."""
    assert isinstance(notices.parse(json.dumps(in_sns(json.dumps(document))).encode(), {}), Notice | Unknown)


@given(st.dictionaries(st.sampled_from(sorted(told(Stored("logs", "a", b"")))), st.text()), st.binary(max_size=50))
def test_any_attributes_get_an_answer(attributes: dict[str, str], body: bytes) -> None:
    """They are as doubtful as the body."""
    sane = told(Stored("logs", "a", b""))
    assert isinstance(notices.parse(body, sane | attributes), Notice | Unknown)


def test_a_list_nested_too_deep_is_unknown() -> None:
    """Nesting cannot exhaust the stack."""
    assert isinstance(notices.parse(b"[" * 100_000, {}), Unknown)


def test_the_directory_sources_message_names_its_file() -> None:
    """Folder and relative path become the reference."""
    answer = notices.parse(json.dumps(KNOWN[0]).encode(), {})
    assert answer == Notice(objects=(ObjectRef(store="file", bucket="/inbox", key="a.log", size=3),))


def test_a_list_of_objects_names_each() -> None:
    """The plain form for tools of one's own."""
    answer = notices.parse(json.dumps(KNOWN[1]).encode(), {})
    assert answer == Notice(objects=(ObjectRef(store="s3", bucket="logs", key="a.gz", etag="e1"),))
