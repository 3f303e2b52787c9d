"""One lookup table: rows by a key, by the network that an address lies in, or out of a MaxMind database."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from ingestd.enrichment import rows
from ingestd.enrichment.index import Index, IndexBuilder
from ingestd.errors import Permanent

_EXACT: Final = b"="
_ADDRESS_BITS: Final = {4: 32, 6: 128}


class Table(Protocol):
    """Answers for a value of an event."""

    def find(self, value: str) -> dict[str, Any] | None:
        """A row of one's own; None when there is none."""


class KeyedTable:
    """Rows of a file. A key that is a network (`10.0.0.0/8`) is found by every address in it, the narrowest first."""

    def __init__(self, index: Index, prefixes: Mapping[int, list[int]], size: int, skipped: int) -> None:
        self._index = index
        self.size = size
        """Bytes."""
        self._prefixes = prefixes
        """IP version → prefix lengths that occur, the longest first."""
        self.skipped = skipped
        """Rows that could not be read, or had no key."""

    def __len__(self) -> int:
        return len(self._index)

    @classmethod
    def load(cls, file: Path, key: str, kinds: Mapping[str, str], max_bytes: int) -> KeyedTable:
        """Raises `Permanent` when the file is no table, has no row with the key, or is larger than `max_bytes`."""
        try:
            return cls._build(file, key, kinds, max_bytes)
        except OSError as error:
            raise Permanent(f"{file}: cannot be kept in a temporary file: {error}") from error

    @classmethod
    def _build(cls, file: Path, key: str, kinds: Mapping[str, str], max_bytes: int) -> KeyedTable:
        builder = IndexBuilder()
        prefixes: dict[int, set[int]] = {4: set(), 6: set()}
        skipped = 0
        for row in rows.read(file, kinds):
            value = None if row is None else _at(row, key)
            if value is None or isinstance(value, dict | list):
                skipped += 1
                continue
            builder.add(_key(str(value), prefixes), orjson.dumps(row))
            if builder.size > max_bytes:
                raise Permanent(f"{file}: is larger than what is left of enrichment.max_bytes, {max_bytes}")
        if not builder.size:
            raise Permanent(f"{file}: no row has the primary key {key!r}")
        longest_first = {version: sorted(lengths, reverse=True) for version, lengths in prefixes.items() if lengths}
        return cls(builder.finish(), longest_first, builder.size, skipped)

    def find(self, value: str) -> dict[str, Any] | None:
        """See `Table`."""
        found = self._index.get(_EXACT + value.encode("utf-8", "surrogatepass"))
        if found is None and self._prefixes:
            found = self._network_of(value)
        return None if found is None else orjson.loads(found)

    def _network_of(self, value: str) -> bytes | None:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        bits, number = _ADDRESS_BITS[address.version], int(address)
        for length in self._prefixes.get(address.version, ()):
            found = self._index.get(_network_key(address.version, length, number >> (bits - length)))
            if found is not None:
                return found
        return None


def _key(value: str, prefixes: dict[int, set[int]]) -> bytes:
    if "/" in value:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            pass  # a path or a URL
        else:
            length = network.prefixlen
            prefixes[network.version].add(length)
            shifted = int(network.network_address) >> (_ADDRESS_BITS[network.version] - length)
            return _network_key(network.version, length, shifted)
    return _EXACT + value.encode("utf-8", "surrogatepass")


def _network_key(version: int, length: int, shifted: int) -> bytes:
    return bytes((version, length)) + shifted.to_bytes(16, "big")


def _at(row: dict[str, Any], key: str) -> Any:
    if key in row:
        return row[key]
    value: Any = row
    for step in key.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


class AddressTable:
    """A MaxMind database: an entry per network, mapped and not read."""

    skipped = 0

    def __init__(self, file: Path) -> None:
        try:
            import maxminddb
        except ModuleNotFoundError:
            raise Permanent(f"{file}: needs maxminddb: install ingestd[enrichment]") from None
        try:
            self._reader = maxminddb.open_database(str(file), maxminddb.MODE_AUTO)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise Permanent(f"{file}: cannot be read: {error}") from error
        self._damaged: type[Exception] = maxminddb.InvalidDatabaseError

    def find(self, value: str) -> dict[str, Any] | None:
        """See `Table`. What is no address has no entry; nor has one that the database cannot be read for."""
        try:
            found = self._reader.get(value)
        except (ValueError, self._damaged):
            return None
        return dict(found) if isinstance(found, dict) else None


def load(file: Path, key: str, kinds: Mapping[str, str], max_bytes: int) -> KeyedTable | AddressTable:
    """The table in a file, by its suffix. Raises `Permanent` saying what is wrong with it."""
    if file.suffix == ".mmdb":
        return AddressTable(file)
    return KeyedTable.load(file, key, kinds, max_bytes)
