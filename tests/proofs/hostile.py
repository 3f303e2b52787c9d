"""Files that an attacker, or a broken producer, may leave in a folder; and good ones beside them."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GOOD_RECORDS = 40
MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """How large the large ones are, in plain bytes."""

    bomb: int
    line: int
    depth: int = 100_000


FULL = Sizes(bomb=10 << 30, line=1 << 30)
SMALL = Sizes(bomb=256 * MIB, line=64 * MIB)


def record(number: str) -> dict[str, object]:
    """A small CloudTrail record."""
    return {
        "eventVersion": "1.08",
        "eventID": number,
        "eventTime": "2026-05-01T00:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "awsRegion": "eu-central-1",
        "eventType": "AwsApiCall",
        "userIdentity": {"type": "IAMUser", "userName": "ada"},
        "recipientAccountId": "111122223333",
    }


def _good(name: str, count: int = GOOD_RECORDS) -> bytes:
    return json.dumps({"Records": [record(f"{name}-{index}") for index in range(count)]}).encode()


def _lines(name: str, count: int) -> bytes:
    return b"".join(json.dumps(record(f"{name}-{index}")).encode() + b"\n" for index in range(count))


def write(folder: Path, sizes: Sizes) -> tuple[set[str], dict[str, str]]:
    """Fill the folder: (event ids that must arrive, file name → a word of the reason of its reject)."""
    folder.mkdir(parents=True)
    wanted: set[str] = set()
    for name in ("good-1.json", "good-2.json.gz", "zz-good-3.txt"):
        data = _good(name)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        wanted |= {f"{name}-{index}" for index in range(GOOD_RECORDS)}
    # wrong suffixes: plain text named .gz, gzip named .json
    (folder / "plain-named.json.gz").write_bytes(_good("plain-named"))
    (folder / "gzip-named.json").write_bytes(gzip.compress(_good("gzip-named")))
    wanted |= {f"{name}-{index}" for name in ("plain-named", "gzip-named") for index in range(GOOD_RECORDS)}
    # nothing at all: neither rows nor a reject
    (folder / "empty.json").write_bytes(b"")

    bad: dict[str, str] = {}
    truncated = gzip.compress(_lines("truncated", 5_000))
    (folder / "truncated.json.gz").write_bytes(truncated[: len(truncated) // 2])
    bad["truncated.json.gz"] = "truncated"
    _bomb(folder / "bomb.json.gz", sizes.bomb)
    bad["bomb.json.gz"] = ""
    _long_line(folder / "long-line.json", sizes.line)
    wanted |= {"before-0", "after-0"}
    bad["long-line.json"] = "record_too_long"
    (folder / "not-utf8.json").write_bytes(
        _lines("utf8-before", 1) + b'{"eventName":"\xff\xfe"}\n' + _lines("utf8-after", 1)
    )
    wanted |= {"utf8-before-0", "utf8-after-0"}
    bad["not-utf8.json"] = ""
    deep = b"[" * sizes.depth + b"]" * sizes.depth
    (folder / "deep.json").write_bytes(b'{"eventName": ' + deep + b"}\n")
    bad["deep.json"] = ""
    (folder / "binary.json").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 64)
    bad["binary.json"] = ""
    _containers(folder, wanted, bad)
    return wanted, bad


def _containers(folder: Path, wanted: set[str], bad: dict[str, str]) -> None:
    """Rows in Parquet and Avro, elements in XML: good files, and such as are made to harm."""
    rows = [record(f"row-{index}") for index in range(GOOD_RECORDS)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "good.parquet")
    events = "".join(f"<Event>{_elements(record(f'element-{index}'))}</Event>" for index in range(GOOD_RECORDS))
    (folder / "good.xml").write_text(f"<Events>{events}</Events>")
    wanted |= {f"{name}-{index}" for name in ("row", "element") for index in range(GOOD_RECORDS)}

    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    (folder / "laughs.xml").write_text(
        f'<!DOCTYPE l [<!ENTITY l0 "lol">{laughs}]><Events><Event>&l9;</Event></Events>'
    )
    bad["laughs.xml"] = "xml_entities"
    pq.write_table(pa.table({"eventName": ["\0" * (64 * MIB)]}), folder / "bomb.parquet", compression="zstd")
    bad["bomb.parquet"] = "expansion_limit"
    pq.write_table(pa.table({"eventName": [["x" * 50_000] * 20_000]}), folder / "one-row.parquet", compression="zstd")
    bad["one-row.parquet"] = "record_too_long"
    (folder / "cut.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-9])
    bad["cut.parquet"] = "truncated"
    (folder / "endless.avro").write_bytes(_endless_avro())
    bad["endless.avro"] = "corrupt_avro"


def _elements(value: object) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_elements(item)}</{name}>" for name, item in value.items())
    return str(value)


def _endless_avro() -> bytes:
    """A list that nests a million deep, in a megabyte."""
    schema = json.dumps({"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}).encode()
    sync, body = b"S" * 16, b"\x02" * MIB + b"\0"
    header = b"Obj\x01" + _number(1) + _number(11) + b"avro.schema" + _number(len(schema)) + schema + b"\0"
    return header + sync + _number(1) + _number(len(body)) + body + sync


def _number(value: int) -> bytes:
    """As Avro writes it."""
    out, value = b"", value << 1
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _bomb(path: Path, size: int) -> None:
    """Zeros in gzip, about a thousandth of the size."""
    block, squeeze = bytes(MIB), zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(squeeze.compress(block))
        file.write(squeeze.flush())


def _long_line(path: Path, size: int) -> None:
    """A line of that size between two good ones."""
    with path.open("wb") as file:
        file.write(_lines("before", 1))
        for piece in _of_size(size):
            file.write(piece)
        file.write(b"\n" + _lines("after", 1))


def _of_size(size: int) -> Iterator[bytes]:
    yield b'{"eventName":"'
    piece = b"a" * MIB
    for _ in range(size // MIB):
        yield piece
    yield b'"}'


def as_gzip(data: bytes) -> bytes:
    """The data compressed, as one member."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(data)
    return out.getvalue()
