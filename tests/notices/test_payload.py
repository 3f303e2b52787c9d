"""Messages that are log events: what is taken off before a child reads them, and what is left alone."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.notices.base import Ignored
from ingestd.notices.payload import payload

EVENT = b'{"eventName": "ConsoleLogin"}'


def enveloped(message: str) -> bytes:
    """As SNS hands it to a queue."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": message}).encode()


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (EVENT, EVENT),
        (b"plain text line", b"plain text line"),
        (base64.b64encode(EVENT), EVENT),
        (base64.b64encode(gzip.compress(EVENT, mtime=0)), gzip.compress(EVENT, mtime=0)),
        (gzip.compress(EVENT, mtime=0), gzip.compress(EVENT, mtime=0)),
        (enveloped(EVENT.decode()), EVENT),
        (enveloped(base64.b64encode(gzip.compress(EVENT, mtime=0)).decode()), gzip.compress(EVENT, mtime=0)),
        (b"", b""),
    ],
    ids=["json", "text", "base64", "gzip in base64", "gzip", "SNS", "SNS, gzip in base64", "empty"],
)
def test_what_is_around_the_events_is_taken_off(body: bytes, data: bytes) -> None:
    """Compression stays, as in an object."""
    assert payload(body) == data


@pytest.mark.parametrize("text", [b"user", b"deadbeef", b"YWJjZA=="])
def test_text_that_could_be_base64_is_left_as_it_is(text: bytes) -> None:
    """Only what holds a document or something compressed is taken for base64."""
    assert payload(text) == text


def test_an_event_that_speaks_of_topics_is_no_envelope() -> None:
    """A record of CloudTrail about SNS names topics too."""
    event = b'{"eventSource": "sns.amazonaws.com", "requestParameters": {"TopicArn": "arn"}}'
    assert payload(event) == event


def test_a_subscription_that_begins_is_no_event() -> None:
    """It is acknowledged and counted."""
    body = json.dumps({"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:r:1:t", "SubscribeURL": "u"})
    assert payload(body.encode()) == Ignored(reason="subscription_confirmation", key="arn:aws:sns:r:1:t")


@given(st.binary(max_size=200))
def test_no_body_is_too_odd(body: bytes) -> None:
    """Whatever a body holds, it stays a message."""
    payload(body)
    payload(b'{"TopicArn":' + body)
