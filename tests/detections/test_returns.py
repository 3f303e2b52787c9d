"""What is made of an alert context."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from ingestd.detections import returns
from ingestd.detections.event import PantherEvent

EVENT = PantherEvent({"user": {"name": "ana"}, "list": [1, {"a": None}]})


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": [True, None, 1.5, "x"], "c": {"d": ("e", [])}},
        {"user": EVENT["user"], "all": EVENT, "list": EVENT["list"]},
        {"big": 2**80, 3: "three", "accent": "\u00e9", "long": "x" * (returns.MAX_CONTEXT // 2)},
        EVENT,
    ],
)
def test_contexts_are_ascii_json_of_what_they_hold(value: Any) -> None:
    """Views, tuples, big numbers, keys that are numbers: as the standard encoder has it."""
    encoded = returns.context("r", value)
    assert encoded.isascii()
    assert json.loads(encoded) == json.loads(json.dumps(dict(value), default=lambda view: view.copy()))


@pytest.mark.parametrize(
    "value",
    [{"a": float("nan")}, {"a": [float("inf")]}, {"a": uuid.UUID(int=1)}, {"a": {1}}, {"a": datetime.now(UTC)}],
)
def test_contexts_that_are_no_json_are_errors(value: Any) -> None:
    """Whichever encoder is asked first."""
    with pytest.raises((TypeError, ValueError)):
        returns.context("r", value)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("\ud800", "\ufffd"),
        ("😀\udfff\U0010ffff", "😀\ufffd\U0010ffff"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\\ud800 \\\ud800", "\\ud800 \\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_replaced(text: str, held: str) -> None:
    """Python reads one from a JSON text within an event; nobody else reads it."""
    assert orjson.loads(returns.context("r", {"a": text, text: 1})) == {"a": held, held: 1}


def test_contexts_that_nobody_can_follow_are_errors() -> None:
    """However deep Python's own encoder goes."""
    for depth, fits in ((returns.MAX_DEPTH - 1, True), (returns.MAX_DEPTH, False), (800, False)):
        value: Any = "\xe9"
        for _ in range(depth):
            value = [value]
        if fits:
            assert orjson.loads(returns.context("r", {"a": value}))["a"]
        else:
            with pytest.raises(ValueError, match="nested more than 254 deep"):
                returns.context("r", {"a": value})


def test_contexts_that_hold_themselves_are_errors() -> None:
    """They end, as an error."""
    value: dict[str, Any] = {}
    value["itself"] = value
    with pytest.raises((ValueError, RecursionError)):
        returns.context("r", value)


def test_contexts_that_are_too_long_say_how_long() -> None:
    """Counted as the standard encoder writes them."""
    said = json.loads(returns.context("r", {"a": "x" * returns.MAX_CONTEXT}))
    assert said["_error"].startswith(f"alert_context size is [{returns.MAX_CONTEXT + 9}] characters")
