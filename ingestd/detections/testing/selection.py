"""Which detections to test: `KEY=VALUE` filters over what their YAML says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ingestd.detections.loading.items import KEYS, Item, did_you_mean

_KNOWN = frozenset(key for keys in KEYS.values() for key in keys)
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), "false"),
}


class FilterError(ValueError):
    """A filter that cannot be understood."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """One `KEY=V1,V2` (any of the values) or `KEY!=V1,V2` (none of them)."""

    key: str
    values: frozenset[str]
    """In lower case."""
    inverted: bool = False

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Raises FilterError, saying what is wrong."""
        key, equals, written = text.partition("=")
        inverted = key.endswith("!")
        key = key.removesuffix("!").strip()
        values = [value.strip().lower() for value in written.split(",")]
        if not equals or not key or not all(values):
            raise FilterError(f"{text!r} is no filter: write KEY=VALUE, KEY=VALUE1,VALUE2 or KEY!=VALUE")
        if key not in _KNOWN:
            hint = did_you_mean(key, _KNOWN)
            raise FilterError(f"{key!r} is no key of a detection" + (f" ({hint})" if hint else ""))
        if key == "Enabled":
            unknown = [value for value in values if value not in _BOOLEANS]
            if unknown:
                raise FilterError(f"Enabled is true or false, not {unknown[0]!r}")
            values = [_BOOLEANS[value] for value in values]
        return cls(key=key, values=frozenset(values), inverted=inverted)

    def meets(self, data: Mapping[str, Any]) -> bool:
        """Whether an item of this content is one to keep."""
        value = data.get(self.key)
        held = value if isinstance(value, list) else [] if value is None else [value]
        return any(str(one).lower() in self.values for one in held) is not self.inverted


def choose(items: Iterable[Item], filters: Iterable[Filter]) -> frozenset[str]:
    """Ids of the items that meet every filter."""
    wanted = tuple(filters)
    return frozenset(item.id for item in items if all(one.meets(item.data) for one in wanted))
