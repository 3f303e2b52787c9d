"""Where in a JSON document the array of records is."""

from __future__ import annotations

from typing import Final

import msgspec

WRAPPERS: Final = ("Records", "records", "logEvents", "configurationItems")
"""Keys that hold the records of a file wherever they are seen."""
LISTS: Final = ("Events", "items", "value", "entries")
"""Keys that hold the records when the object is the only document; an event may have such a field, too."""


class Step(msgspec.Struct, frozen=True):
    """One key on the way to the record within an element; `each`: its value is an array, take all."""

    key: str
    each: bool


class Envelope(msgspec.Struct, frozen=True):
    """`keys` lead from the top of the document to the array, `within` from an element to the record.

    Neither: the document is the array itself.
    """

    keys: tuple[str, ...] = ()
    within: tuple[Step, ...] = ()

    @classmethod
    def parse(cls, path: str) -> Envelope:
        """From `Records`, `detail.items`, `logEvents[].message`, `[].event`. Raises ValueError."""
        head, _, tail = path.partition("[]")
        keys = tuple(head.split(".")) if head else ()
        steps = tail.removeprefix(".").split(".") if tail else []
        within = tuple(Step(step.removesuffix("[]"), step.endswith("[]")) for step in steps)
        if not all(keys) or not all(step.key for step in within):
            raise ValueError(f"{path!r} is not a path such as Records, detail.items or logEvents[].message")
        return cls(keys, within)


FOUND: Final = {
    key: Envelope((key,), (Step("message", each=False),) if key == "logEvents" else ()) for key in WRAPPERS + LISTS
}
"""The envelopes that are looked for when none is configured."""


class NotThere(ValueError):
    """The element has nothing at the path."""


def extract(element: bytes, steps: tuple[Step, ...]) -> list[bytes]:
    """The records within one element of the array: JSON text, or the content of a JSON string.

    Raises `NotThere`; `msgspec.DecodeError` when a string is not valid.
    """
    values = [msgspec.Raw(element)]
    for step in steps:
        taken: list[msgspec.Raw] = []
        for value in values:
            try:
                found = msgspec.json.decode(value, type=dict[str, msgspec.Raw])[step.key]
                taken += msgspec.json.decode(found, type=list[msgspec.Raw]) if step.each else [found]
            except (KeyError, msgspec.ValidationError):
                raise NotThere(f"no {'array' if step.each else 'field'} {step.key!r} in the element") from None
        values = taken
    return [_content(bytes(value)) for value in values]


def _content(value: bytes) -> bytes:
    return msgspec.json.decode(value, type=str).encode() if value.startswith(b'"') else value
