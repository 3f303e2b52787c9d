"""Field types and models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ingestd.config.base import Bytes, Seconds
from ingestd.config.convert import decode_limits, detection_options
from ingestd.config.models import HttpConfig, Root, RouteConfig, SourceConfig
from ingestd.decode.limits import Limits
from ingestd.model import Framing, Route


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(5, 5), (0.5, 0.5), ("5", 5), ("250ms", 0.25), ("90s", 90), ("5m", 300), ("1.5 h", 5_400), ("30d", 2_592_000)],
)
def test_durations(written: Any, seconds: float) -> None:
    """A duration is seconds, or text with a unit."""
    assert TypeAdapter(Seconds).validate_python(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (5, 5),
        ("5", 5),
        ("5B", 5),
        ("64KiB", 65_536),
        ("1 kb", 1_000),
        ("256MiB", 268_435_456),
        ("2GB", 2_000_000_000),
    ],
)
def test_sizes(written: Any, size: int) -> None:
    """A size is bytes, or text with a unit of 1000 or 1024."""
    assert TypeAdapter(Bytes).validate_python(written) == size


@pytest.mark.parametrize("written", ["", "m", "5 weeks", "-5", -5, "1e400", "5m5s", float("nan"), None, "٣m", []])
@pytest.mark.parametrize("kind", [Seconds, Bytes])
def test_what_is_no_amount(kind: Any, written: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(written)


def test_routes_become_nouns() -> None:
    """A route crosses the process boundary as the noun; a framing may be named alone."""
    route = RouteConfig.model_validate({"prefix": "a/", "log_types": ["X"], "exclude": ["*.md"], "framing": "lines"})
    assert route.to_route() == Route(prefix="a/", log_types=("X",), exclude=("*.md",), framing=Framing(name="lines"))


def test_a_framing_that_does_not_exist_is_a_mistake() -> None:
    """The message names those that do."""
    with pytest.raises(ValidationError, match="'jsonl' is no framing; there are auto, avro, parquet"):
        RouteConfig.model_validate({"framing": "jsonl"})


def test_a_source_always_has_a_route() -> None:
    """Without routes, and with an empty list of them, everything is a candidate everywhere."""
    assert SourceConfig(type="x").to_routes() == (Route(),)
    assert SourceConfig(type="x", routes=()).to_routes() == (Route(),)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:80", ("::1", 80)),
        (":8080", ("0.0.0.0", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("off", None),
    ],
)
def test_listen(listen: str, address: tuple[str, int] | None) -> None:
    """Address and port in the usual forms, or off."""
    assert HttpConfig(listen=listen).address == address


@pytest.mark.parametrize("listen", ["", "9464", "host:", "host:99999", "host:x", "host:-1"])
def test_listen_mistakes(listen: str) -> None:
    """What is not address and port is refused."""
    with pytest.raises(ValidationError):
        HttpConfig(listen=listen)


def test_defaults_are_those_of_the_rooms() -> None:
    """The documented default of a limit is the one in force where nothing is configured."""
    root = Root.model_validate({})
    assert decode_limits(root) == Limits()


def test_overrides_reach_the_detections() -> None:
    """Every field of an override arrives as the plain data that the workers take."""
    override = {
        "enabled": True,
        "severity": "LOW",
        "threshold": 3,
        "dedup_minutes": 30,
        "destinations": ["a"],
        "filter": [{"KeyPath": "x", "Condition": "Exists"}],
    }
    root = Root.model_validate({"detections": {"paths": ["d"], "disable": ["B"], "overrides": {"A": override}}})
    options = detection_options(root, log_types={"Y", "X"})
    assert (options.paths, options.disable, options.known_log_types) == (("d",), ("B",), ("X", "Y"))
    got = options.overrides["A"]
    assert {name: getattr(got, name) for name in override} == {
        **override,
        "destinations": ("a",),
        "filter": ({"KeyPath": "x", "Condition": "Exists"},),
    }
