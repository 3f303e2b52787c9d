"""The round trip: samples are read with the schema, and what does not come back is a loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ingestd.schemas.classifier import Classifier
from ingestd.schemas.infer.evidence import decode
from ingestd.schemas.infer.forms import ABSENT
from ingestd.schemas.logtype import LogType
from ingestd.schemas.session import Rejected, Session, SessionInfo
from ingestd.schemas.transliterate import column_name

_MOST_LOSSES = 1000


class Sample(NamedTuple):
    """A record and where it came from."""

    source: str
    ordinal: int
    data: bytes


class Loss(NamedTuple):
    """What the schema does not bring back of a sample."""

    source: str
    ordinal: int
    path: str
    """Empty for a record that is rejected."""
    why: str

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.source}: record {self.ordinal}: {path}{self.why}"


def losses(
    kind: LogType, samples: Iterable[Sample], draft: LogType | None, aside: frozenset[str] = frozenset()
) -> list[Loss]:
    """Each loss, at most 1,000. For text, `draft` reads the same lines as texts. That top-level fields in `aside` are
    set aside is known, and told elsewhere."""
    found: list[Loss] = []
    reader, plain, source = None, None, None
    for sample in samples:
        if sample.source != source:
            source = sample.source
            reader = session_of(kind)
            plain = session_of(draft) if draft is not None else None
            if sample.ordinal:  # the header line was not kept: every record before this one was left out
                plain = None
        assert reader is not None
        for path, why in dict(_lost(reader, plain, sample, aside)).items():
            found.append(Loss(sample.source, sample.ordinal, path, why))
            if len(found) >= _MOST_LOSSES:
                return found
    return found


def session_of(kind: LogType) -> Session:
    """A reader of one object for one log type."""
    return Classifier([kind]).session(SessionInfo(identity="sample", keep_unknown=True))


def _lost(reader: Session, plain: Session | None, sample: Sample, aside: frozenset[str]) -> Iterator[tuple[str, str]]:
    read = reader.read(sample.data, sample.ordinal)
    events = read if isinstance(read, list) else [read]
    raws = _raw(sample.data) if reader_is_json(reader) else [_texts(plain, sample)] if plain is not None else []
    for at, event in enumerate(events):
        if isinstance(event, Rejected):
            yield "", f"{event.reason}: {event.detail}"
            continue
        if event is None:
            continue
        raw = raws[at] if at < len(raws) else None
        known = aside.intersection(event.get("p_unexpected", {}))
        if known and isinstance(raw, dict):
            raw = {name: value for name, value in raw.items() if name not in known}
        for path, value in event.get("p_unknown_fields", {}).items():
            if path not in known and not (isinstance(value, str) and value in ABSENT):
                yield path, "is not declared"
        for path, why in event.get("p_unexpected", {}).items():
            if path not in event.get("p_unknown_fields", {}):
                yield path, str(why)
        if raw is not None:
            yield from _compare(raw, event, "")


def reader_is_json(reader: Session) -> bool:
    """Whether the session reads JSON records."""
    return reader._only is not None


def _raw(data: bytes) -> list[Any]:
    try:
        value = decode(data)
    except ValueError:
        return []
    return value if isinstance(value, list) else [value]


def _texts(plain: Session, sample: Sample) -> Any:
    read = plain.read(sample.data, sample.ordinal)
    if not isinstance(read, dict):
        return None
    return {name: value for name, value in read.items() if not name.startswith("p_")}


def _compare(raw: Any, event: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(raw, dict):
        if not isinstance(event, dict):
            if isinstance(event, str):
                return  # text of an embedded document
            yield path, "the object is gone"
            return
        folded = {key.lower(): key for key in event}
        for name, value in raw.items():
            here = f"{path}.{name}" if path else name
            key = name if name in event else folded.get(column_name(name).lower(), folded.get(name.lower()))
            if _nothing(value) or (not path and name[:2].lower() == "p_"):
                continue
            if key is None:
                yield here, "is gone"
            else:
                yield from _compare(value, event[key], here)
    elif isinstance(raw, list):
        if not isinstance(event, list) or len(event) != len(raw):
            yield path, "the array is not the same"
            return
        for at, (left, right) in enumerate(zip(raw, event, strict=True)):
            yield from _compare(left, right, f"{path}[{at}]")
    elif not _nothing(raw) and not _same(raw, event):
        yield path, f"{str(raw)[:80]!r} became {str(event)[:80]!r}"


def _nothing(value: Any) -> bool:
    return value is None or value in ({}, []) or (isinstance(value, str) and value.strip() in ABSENT)


def _same(raw: Any, event: Any) -> bool:
    """Whether nothing of the value is lost. A moment comes out in another spelling, embedded JSON as a value."""
    if raw == event or isinstance(event, (dict, list)):
        return True
    if isinstance(event, bool):
        return str(raw).lower() in ("true", "1", "t") if event else str(raw).lower() in ("false", "0", "f")
    if isinstance(event, str):
        return str(raw).lower() == event.lower() or isinstance(raw, (int, float)) or event[10:11] == " "
    if isinstance(event, (int, float)):
        try:
            return float(raw) == float(event)
        except (TypeError, ValueError, OverflowError):
            return False
    return False
