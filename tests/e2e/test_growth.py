"""Files that grow, from the folder to the lake: each record once, whatever was read before."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from backports import zstd

from tests.proofs import checker, hostile
from tests.proofs.site import Site


def _lines(*numbers: int) -> bytes:
    return b"".join(json.dumps(hostile.record(f"event-{number}")).encode() + b"\n" for number in numbers)


def _drain(site: Site) -> Counter[str]:
    daemon = site.start()
    assert daemon.wait(120) == 0, site.log_tail()
    return Counter(str(row[0]) for row in checker.parquet_rows(site.lake, "events", ["eventID"]))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty inbox."""
    made = Site(tmp_path / "site")
    made.inbox.mkdir()
    return made


def _each_once(*numbers: int) -> Counter[str]:
    return Counter(f"event-{number}" for number in numbers)


def test_a_file_that_grew_goes_on_after_what_was_committed(site: Site) -> None:
    """Plain lines appended to a file that was read."""
    growing = site.inbox / "a.log"
    growing.write_bytes(_lines(1, 2, 3))
    assert _drain(site) == _each_once(1, 2, 3)
    growing.write_bytes(_lines(1, 2, 3, 4, 5))
    assert _drain(site) == _each_once(1, 2, 3, 4, 5)


def test_a_compressed_file_that_grew_by_a_member_goes_on_too(site: Site) -> None:
    """gzip members appended to a file that was read."""
    growing = site.inbox / "a.log.gz"
    growing.write_bytes(gzip.compress(_lines(1, 2)))
    assert _drain(site) == _each_once(1, 2)
    growing.write_bytes(growing.read_bytes() + gzip.compress(_lines(3)))
    assert _drain(site) == _each_once(1, 2, 3)


def test_a_line_that_was_read_half_is_read_whole_when_the_file_grew(site: Site) -> None:
    """The half line is a reject; the whole one is an event."""
    growing = site.inbox / "a.log"
    whole = _lines(1, 2, 3)
    growing.write_bytes(whole[:-40])
    assert _drain(site) == _each_once(1, 2)
    growing.write_bytes(whole + _lines(4))
    assert _drain(site) == _each_once(1, 2, 3, 4)


_RECORDS = json.dumps({"Records": [hostile.record(f"event-{number}") for number in range(1, 5)]}).encode()


@pytest.mark.parametrize(
    "whole",
    [_RECORDS, gzip.compress(_lines(1, 2, 3, 4)), zstd.compress(_lines(1, 2, 3, 4))],
    ids=["array", "gzip", "zstd"],
)
def test_a_file_that_was_read_half_is_completed(site: Site, whole: bytes) -> None:
    """What was cut off is a reject, until the rest is there."""
    growing = site.inbox / "a.log"
    growing.write_bytes(whole[: len(whole) * 2 // 3])
    _drain(site)
    growing.write_bytes(whole)
    assert _drain(site) == _each_once(1, 2, 3, 4)


def test_a_file_that_was_replaced_is_another_object(site: Site) -> None:
    """Other content under the same name is read from its start."""
    replaced = site.inbox / "a.log"
    replaced.write_bytes(_lines(1, 2))
    assert _drain(site) == _each_once(1, 2)
    replaced.write_bytes(_lines(7, 8))
    assert _drain(site) == _each_once(1, 2, 7, 8)


def test_a_log_that_is_rotated_by_renaming_is_not_read_again(site: Site) -> None:
    """`a.log` becomes `a.log.1`, that one `a.log.2`; what the writer added at the last moment is read."""
    for numbers in ((1, 2), (3, 4), (5,)):
        for old, new in (("a.log.1", "a.log.2"), ("a.log", "a.log.1")):
            if (site.inbox / old).exists():
                (site.inbox / old).rename(site.inbox / new)
        (site.inbox / "a.log").write_bytes(_lines(*numbers))
        _drain(site)
    with (site.inbox / "a.log.1").open("ab") as last:
        last.write(_lines(6))
    (site.inbox / "a.log.1").rename(site.inbox / "old.log")
    assert _drain(site) == _each_once(1, 2, 3, 4, 5, 6)


def test_a_compressed_file_that_was_renamed_is_not_read_again(site: Site) -> None:
    """Its name is another one, its inode and its bytes are not."""
    (site.inbox / "a.gz").write_bytes(gzip.compress(_lines(1, 2)))
    assert _drain(site) == _each_once(1, 2)
    (site.inbox / "a.gz").rename(site.inbox / "b.gz")
    assert _drain(site) == _each_once(1, 2)


def test_another_file_under_a_name_that_was_read_is_read(site: Site) -> None:
    """A copy, and a second link, are files of their own."""
    (site.inbox / "a.log").write_bytes(_lines(1))
    assert _drain(site) == _each_once(1)
    (site.inbox / "a.log").rename(site.inbox / "b.log")
    (site.inbox / "a.log").write_bytes(_lines(2))
    assert _drain(site) == _each_once(1, 2)


def test_a_rotation_that_is_found_file_by_file_is_not_read_again(site: Site) -> None:
    """The new `a.log` is read before the old one is found under its new name, as when many files are walked."""
    site.config.write_text(site.config.read_text().replace("settle_secs: 0", "settle_secs: 0\n    max_held: 1"))
    for number in range(1, 4):
        (site.inbox / f"a.log{'.1' * (number - 1)}").write_bytes(_lines(number))
    assert _drain(site) == _each_once(1, 2, 3)
    for number in (3, 2, 1):
        (site.inbox / f"a.log{'.1' * (number - 1)}").rename(site.inbox / f"a.log{'.1' * number}")
    (site.inbox / "a.log").write_bytes(_lines(4))
    assert _drain(site) == _each_once(1, 2, 3, 4)


def test_a_file_that_is_replaced_by_a_longer_version_of_itself_goes_on(site: Site) -> None:
    """Written beside and renamed over: another inode, the same beginning."""
    (site.inbox / "a.log").write_bytes(_lines(1, 2))
    assert _drain(site) == _each_once(1, 2)
    (site.inbox / "a.tmp").write_bytes(_lines(1, 2, 3))
    (site.inbox / "a.tmp").rename(site.inbox / "a.log")
    assert _drain(site) == _each_once(1, 2, 3)
