"""The state API of rules: counters, string sets, dictionaries and their times to live."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ingestd.detections import kv
from ingestd.detections.compat import caching


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A memory store behind the API, on a clock set by hand."""
    clock = Clock()
    kv.connect(kv.MemoryStore(clock))
    yield clock
    kv.connect(None)


def test_counters(clock: Clock) -> None:
    """Absent is 0; each increment gives the new value; reset sets 0."""
    assert caching.get_counter("k") == 0
    assert caching.increment_counter("k") == 1
    assert caching.increment_counter("k", 5) == 6
    caching.reset_counter("k")
    assert caching.get_counter("k") == 0


def test_an_expired_counter_starts_again(clock: Clock) -> None:
    """At the value of the increment."""
    caching.increment_counter("k", 5, epoch_seconds=60)
    clock.now += 61
    assert caching.get_counter("k", force_ttl_check=True) == 0
    assert caching.increment_counter("k", 2) == 2


def test_each_increment_refreshes_the_time_to_live(clock: Clock) -> None:
    """The last one counts."""
    caching.increment_counter("k", epoch_seconds=60)
    caching.increment_counter("k", epoch_seconds=600)
    clock.now += 61
    assert caching.get_counter("k") == 2


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 90 * 86400), (60, 60), ("60", 60), (60.5, 60.5), (604_800, 604_800)],
)
def test_relative_times_to_live(clock: Clock, given: float | str | None, seconds: float) -> None:
    """None is 90 days; up to a week is from now; texts count as numbers."""
    caching.put_string_set("k", ["a"], given)
    clock.now += seconds - 5
    assert caching.get_string_set("k") == {"a"}
    clock.now += 10
    assert caching.get_string_set("k") == set()


def test_an_absolute_time_to_live(clock: Clock) -> None:
    """More than a week is seconds since the epoch."""
    caching.put_string_set("k", ["a"], clock.now + 700_000)
    caching.set_key_expiration("k", clock.now + 800_000)
    clock.now += 750_000
    assert caching.get_string_set("k") == {"a"}
    clock.now += 60_000
    assert caching.get_string_set("k") == set()


def test_string_sets(clock: Clock) -> None:
    """Add and remove one or several; the new set comes back; putting nothing removes it."""
    caching.put_string_set("k", ["a", "b"])
    assert caching.add_to_string_set("k", "c") == {"a", "b", "c"}
    assert caching.add_to_string_set("k", ["d", "a"]) == {"a", "b", "c", "d"}
    assert caching.remove_from_string_set("k", ["a", "b"]) == {"c", "d"}
    assert caching.remove_from_string_set("k", "c") == {"d"}
    caching.put_string_set("k", [])
    assert caching.get_string_set("k") == set()


def test_dictionaries(clock: Clock) -> None:
    """A mapping goes in and comes out; what is no mapping or no JSON is refused."""
    assert caching.get_dictionary("k") == {}
    caching.put_dictionary("k", {"a": [1]})
    assert caching.get_dictionary("k") == {"a": [1]}
    with pytest.raises(TypeError):
        caching.put_dictionary("k", [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON"):
        caching.put_dictionary("k", {"a": {1}})


def test_a_key_holds_a_counter_and_a_set_at_once(clock: Clock) -> None:
    """They do not hide each other."""
    caching.increment_counter("k")
    caching.add_to_string_set("k", "a")
    assert caching.get_counter("k") == 1
    assert caching.get_string_set("k") == {"a"}


def test_thresholds(clock: Clock) -> None:
    """True at the threshold, then from the start again; an expired count is forgotten."""
    assert [caching.evaluate_threshold("k", 3, 60) for _ in range(6)] == [False, False, True] * 2
    caching.evaluate_threshold("k", 2, 60)
    clock.now += 61
    assert caching.evaluate_threshold("k", 2, 60) is False


def test_account_age(clock: Clock) -> None:
    """True while a set is kept under the key."""
    assert caching.check_account_age("k") is False
    caching.put_string_set("k", ["x"], 60)
    assert caching.check_account_age("k") is True
    clock.now += 61
    assert caching.check_account_age("k") is False


def test_without_a_store_the_call_says_so() -> None:
    """A dry run keeps no state: an error with advice, not a silent zero."""
    kv.connect(None)
    with pytest.raises(kv.NoStore, match="mock the caching function"):
        caching.get_counter("k")


@pytest.mark.parametrize(
    ("item", "expired"),
    [({}, False), ({"expiresAt": 1}, True), ({"expiresAt": "1"}, True), ({"expiresAt": 10**11}, False)],
)
def test_what_helpers_of_the_public_format_import(item: dict[str, object], expired: bool) -> None:
    """An answer of DynamoDB can be asked whether it has expired; the table itself is an error with advice."""
    assert caching.ttl_expired({"Item": item}) is expired
    assert caching.ttl_expired({}) is False
    with pytest.raises(NotImplementedError, match="by the functions"):
        caching.kv_table()
