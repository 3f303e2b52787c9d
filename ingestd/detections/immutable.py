"""Read-only views of decoded JSON: what a rule holds instead of the event's own dicts and lists.

They are a `Mapping` and a `Sequence`, never a dict or a list, because rules ask `isinstance(x, list)` and
mean it. Whatever a rule does with one, the event that other rules and the lake see stays as it was: places
that hand out plain containers hand out copies.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from typing import Any, overload


class Absent:
    """Stands for "no such key"; the class itself is the value, so that it survives copying."""


def wrap(value: Any) -> Any:
    """`value`, behind a view if it is a plain dict or list."""
    kind = type(value)
    if kind is dict:
        return ImmutableCaseInsensitiveDict(value)
    if kind is list:
        return ImmutableList(value)
    return value


_SCALARS = frozenset({str, int, float, bool, type(None)})


def thaw(value: Any) -> Any:
    """A deep copy of plain or viewed JSON, made of plain dicts and lists."""
    kind = type(value)
    if kind is dict:
        return {key: item if type(item) in _SCALARS else thaw(item) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in _SCALARS else thaw(item) for item in value]
    if isinstance(value, ImmutableCaseInsensitiveDict | ImmutableList):
        return thaw(value._container)
    return value


class _Lookups(dict[Any, Any]):
    """Answers given so far, by the key asked for. Many rules ask one event the same few questions, so an
    answer after the first costs one dict access: `lookups[key]` is the viewed value or `Absent`."""

    __slots__ = ("container", "folded")

    container: dict[Any, Any]
    folded: dict[str, Any] | None

    def __missing__(self, key: Any) -> Any:
        container = self.container
        found = container.get(key, Absent)
        if found is Absent and container:
            # The first key that differs only in case answers. A key without lower() has always been an
            # AttributeError here, which rules' authors know.
            folded = key.lower()
            names = self.folded
            if names is None:
                names = self.folded = _fold(container)
            if folded in names:
                found = container[names[folded]]
        kind = type(found)
        if kind is dict:
            found = ImmutableCaseInsensitiveDict(found)
        elif kind is list:
            found = ImmutableList(found)
        self[key] = found
        return found


_folded: dict[tuple[Any, ...], dict[str, Any]] = {}
"""Foldings made so far, by keys: events of a log type come in few shapes, and folding costs more than finding."""
_MAX_FOLDED = 2_048
_MAX_KEPT = 4_096
"""Characters of all keys together, beyond which a folding is not kept."""


def _fold(container: dict[Any, Any]) -> dict[str, Any]:
    """Lower-case key to the first key that it stands for."""
    keys = tuple(container)
    known = _folded.get(keys)
    if known is not None:
        return known
    names: dict[str, Any] = {}
    for key in keys:
        if isinstance(key, str):  # in JSON they all are; in a test's sample they may not be
            names.setdefault(key.lower(), key)
    if sum(map(len, names)) <= _MAX_KEPT:
        if len(_folded) >= _MAX_FOLDED:
            _folded.clear()
        _folded[keys] = names
    return names


class ImmutableCaseInsensitiveDict(Mapping[str, Any]):
    """View of a dict. Look-ups find the exact key, else the first that differs only in case; iteration gives
    the keys as they are."""

    __slots__ = ("_container", "_seen")
    __hash__ = None  # type: ignore[assignment]  # equal to plain dicts, which have no hash either

    def __init__(self, container: Mapping[str, Any] | None = None) -> None:
        if type(container) is not dict:
            inner = getattr(container, "_container", container)
            container = inner if type(inner) is dict else dict(inner or ())
        self._container: dict[str, Any] = container
        self._seen = seen = _Lookups()
        seen.container = container  # several views are made per event: without a call of __init__
        seen.folded = None

    def __getitem__(self, key: str) -> Any:
        found = self._seen[key]
        if found is Absent:
            raise KeyError(key)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """The value under `key`; an explicit null stays None whatever the default."""
        found = self._seen[key]
        return default if found is Absent else found

    def __contains__(self, key: object) -> bool:
        return self._seen[key] is not Absent

    def __iter__(self) -> Iterator[str]:
        return iter(self._container)

    def items(self) -> ItemsView[str, Any]:
        """Keys as they are, and viewed values."""
        return _Items(self)

    def __len__(self) -> int:
        return len(self._container)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImmutableCaseInsensitiveDict):
            return self._container == other._container
        if isinstance(other, Mapping):
            return self._container == dict(other)
        return NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._container!r})"

    def to_dict(self) -> dict[str, Any]:
        """A deep, plain, mutable copy."""
        copied: dict[str, Any] = thaw(self._container)
        return copied

    copy = to_dict

    def raw_view(self) -> dict[str, Any]:
        """The same as `to_dict`: the event's own dict is never handed out."""
        return self.to_dict()


class _Items(ItemsView[str, Any]):
    """Goes through the event's own dict: helpers that build contexts go over whole events."""

    _mapping: ImmutableCaseInsensitiveDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        seen = self._mapping._seen
        for key, value in self._mapping._container.items():
            kind = type(value)
            yield key, seen[key] if kind is dict or kind is list else value


class ImmutableList(Sequence[Any]):
    """View of a list. A slice is a tuple of plain values."""

    __slots__ = ("_container", "_items")
    __hash__ = None  # type: ignore[assignment]  # equal to plain lists, which have no hash either

    def __init__(self, container: Sequence[Any] = ()) -> None:
        inner = getattr(container, "_container", container)
        self._container: list[Any] = inner if type(inner) is list else list(inner)
        self._items: list[Any] | None = None

    def _viewed(self) -> list[Any]:
        items = self._items
        if items is None:
            items = self._items = [wrap(item) for item in self._container]
        return items

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(thaw(item) for item in self._container[index])
        return self._viewed()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._viewed())

    def __contains__(self, value: object) -> bool:
        return value in self._viewed()

    def __len__(self) -> int:
        return len(self._container)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImmutableList):
            return self._container == other._container
        if isinstance(other, list):
            return self._container == other
        if isinstance(other, tuple):
            return tuple(self._container) == other
        return NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({tuple(self._container)!r})"

    def as_list(self) -> list[Any]:
        """A deep, plain, mutable copy."""
        copied: list[Any] = thaw(self._container)
        return copied

    copy = as_list
