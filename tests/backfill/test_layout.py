"""Folders with dates: which prefixes a template and a span of time stand for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingestd.backfill import layout
from ingestd.stores.memory import MemoryStore

JANUARY = datetime(2026, 1, 30, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 2, tzinfo=UTC)


def test_a_day_folder_for_each_day() -> None:
    """From the day of the beginning to the last one that begins before the end."""
    assert layout.dates("%Y/%m/%d", JANUARY, FEBRUARY) == ["2026/01/30", "2026/01/31", "2026/02/01"]


def test_a_span_within_a_day_still_names_that_day() -> None:
    """The folder holds more than asked for, never less."""
    noon, one = datetime(2026, 1, 30, 12, 30, tzinfo=UTC), datetime(2026, 1, 30, 13, tzinfo=UTC)
    assert layout.dates("%Y/%m/%d", noon, one) == ["2026/01/30"]
    assert layout.dates("y=%Y/m=%m/d=%d/h=%H", noon, one) == ["y=2026/m=01/d=30/h=12"]


def test_months_are_named_once() -> None:
    """A template without days has a folder per month."""
    assert layout.dates("%Y-%m", JANUARY, FEBRUARY) == ["2026-01", "2026-02"]


def test_prefixes_come_in_key_order() -> None:
    """Even where the date is written the other way round: a position in the listing means all that is before it."""
    assert layout.dates("%d-%m-%Y", JANUARY, FEBRUARY) == ["01-02-2026", "30-01-2026", "31-01-2026"]


@pytest.mark.parametrize(
    ("template", "since", "text"),
    [
        ("%Y/%Q", JANUARY, "%Q is not understood"),
        ("logs/", JANUARY, "where the date is"),
        ("%Y/%m", None, "--since"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template: str, since: datetime | None, text: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match=text):
        layout.check(template, since)


def test_a_slip_of_the_pen_does_not_list_for_ever() -> None:
    """The year 200 in place of 2026."""
    with pytest.raises(ValueError, match="more than 100,000 folders"):
        layout.dates("%Y/%m/%d/%H", datetime(200, 1, 1, tzinfo=UTC), FEBRUARY)


async def test_stars_are_looked_up_and_dates_counted() -> None:
    """Accounts and regions as they are there, days as they are asked for, folders below the date too."""
    store = MemoryStore()
    for account in ("111", "222"):
        for kind in ("CloudTrail", "Config"):
            store.put("b", f"AWSLogs/{account}/{kind}/eu-central-1/2026/01/31/x", b"x")
    template = "*/CloudTrail/*/%Y/%m/%d/"
    found = [f async for f in layout.prefixes(store, "b", "AWSLogs/", template, JANUARY, FEBRUARY)]
    assert found == [
        f"AWSLogs/{account}/CloudTrail/eu-central-1/2026/{day}/"
        for account in ("111", "222")
        for day in ("01/30", "01/31", "02/01")
    ]
    below = [f async for f in layout.prefixes(store, "b", "AWSLogs/111/Config/", "*/%Y/*/*/", JANUARY, FEBRUARY)]
    assert below == ["AWSLogs/111/Config/eu-central-1/2026/01/31/"]
