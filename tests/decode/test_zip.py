"""Zip archives, as they stream by."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile

import pytest

from ingestd.model import Framing
from tests.decode.reading import AUTO, LINES, Result, read


class _Pipe(io.RawIOBase):
    """Cannot seek: zipfile then writes sizes behind the data."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def noise(size: int) -> bytes:
    """Text that hardly compresses."""
    return random.Random(1).randbytes(size).hex().encode()


def archive(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, streamed: bool = False) -> bytes:
    """A zip of these files."""
    target: io.BytesIO | _Pipe = _Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return target.data if isinstance(target, _Pipe) else target.getvalue()


def read_both(data: bytes, framing: Framing = LINES) -> Result:
    """Read at once, and byte by byte with the same outcome."""
    result = read(data, framing)
    assert read(data, framing, size=1).comparable == result.comparable
    return result


@pytest.mark.parametrize("streamed", [False, True])
def test_each_file_is_a_document(streamed: bool) -> None:
    """Their lines do not join, folders and what macOS adds are passed over."""
    files = {
        "a.log": b"one\ntwo",
        "dir/": b"",
        "dir/b.log": b"three\n",
        "__MACOSX/._a.log": b"\0\5\x16",
        "c": b"four",
    }
    result = read_both(archive(files, streamed=streamed))
    assert result.all == [b"one", b"two", b"three", b"four"]
    assert result.decoder.compression == "zip"
    assert not result.decoder.tail_open


def test_each_file_is_a_json_document() -> None:
    """The framing found for the first file is used for all."""
    files = {f"{n}.json": json.dumps({"Records": [{"n": n}]}).encode() for n in range(3)}
    result = read_both(archive(files), AUTO)
    assert result.all == [b'{"n": 0}', b'{"n": 1}', b'{"n": 2}']
    assert result.decoder.framing == "json_array"


def test_stored_files_are_read() -> None:
    """Without compression, as `zip -0` makes them."""
    assert read_both(archive({"a": b"one", "b": b"two"}, method=zipfile.ZIP_STORED)).all == [b"one", b"two"]


def test_compressed_files_within_are_read() -> None:
    """A folder of `.gz` that was zipped; a damaged one of them costs only itself."""
    good, bad = gzip.compress(b"line\n"), gzip.compress(b"x" * 1000)[:-12]
    result = read_both(archive({"1.gz": good, "2.gz": bad, "3.gz": good, "4.txt": b"text"}))
    assert result.records == [b"line", b"line", b"text"]
    assert result.reasons == ["truncated"]
    assert result.decoder.failure is None


def test_what_cannot_be_read_is_one_damage_and_the_next_file_comes() -> None:
    """Other methods, encryption, a wrong checksum, a binary file, JSON that makes no sense."""
    lzma = archive({"x": b"xyz"}, method=zipfile.ZIP_LZMA)
    files = archive({"a": b"good one"}, method=zipfile.ZIP_STORED)
    end = files.index(b"PK\1\2")
    other = lzma[: lzma.index(b"PK\1\2")]
    result = read_both(other + files)
    assert result.records == [b"good one"]
    assert result.reasons == ["zip_member"]
    assert "method 14" in result.damages[0].detail

    encrypted = bytearray(files[:end])
    encrypted[6] |= 1
    result = read_both(bytes(encrypted) + files)
    assert result.records == [b"good one"]
    assert "encrypted" in result.damages[0].detail

    changed = files[:end].replace(b"good one", b"evil one")
    result = read_both(changed + files)
    assert result.all[0] == b"evil one"
    assert "checksum" in result.damages[0].detail

    result = read_both(archive({"a.png": b"\x89PNG\0\0\0\0\0\0" * 9, "b": b"text"}))
    assert result.records == [b"text"]
    assert result.reasons == ["not_text"]

    result = read_both(archive({"a": b'{"Records":[{"a":', "b": b'{"Records":[{"b":1}]}'}), AUTO)
    assert result.records == [b'{"b":1}']
    assert result.reasons == ["truncated"]
    assert result.decoder.failure is None


@pytest.mark.parametrize("content", [b"abc" * 1000, gzip.compress(noise(3000)), b"\0" * 1000])
def test_a_damaged_file_costs_only_itself(content: bytes) -> None:
    """Where its length is known, whatever had been seen of it."""
    data = bytearray(archive({"a": content, "b": b"\xef\xbb\xbfgood"}))
    end = data.index(b"PK\3\4", 4)
    data[end - 8 : end] = b"\xff" * 8
    result = read_both(bytes(data))
    assert result.records[-1:] == [b"good"]
    assert result.damages


def test_large_archives() -> None:
    """Sizes of 8 bytes, more files than a slice holds."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(500):
            with file.open(f"{number}.log", "w", force_zip64=True) as member:
                member.write(b"line %d\n" % number)
    assert read(target.getvalue(), LINES).all == [b"line %d" % number for number in range(500)]


def test_an_archive_of_nothing() -> None:
    """No file, no record, no damage."""
    assert read_both(archive({})).all == []
