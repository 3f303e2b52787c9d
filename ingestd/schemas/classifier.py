"""The log types that a route allows, ready to read objects with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ingestd.schemas.classify import ShapeTable, text_order
from ingestd.schemas.logtype import LogType
from ingestd.schemas.session import Session, SessionInfo


class Classifier:
    """Holds what sessions share; one per set of candidates and process."""

    def __init__(self, candidates: Sequence[LogType]) -> None:
        self.names = tuple(sorted(candidate.name for candidate in candidates))
        self.name = self.names[0] if len(self.names) == 1 else ""
        """The log type when there is only one candidate."""
        self.jsons = tuple(candidate for candidate in candidates if not candidate.schema.is_text)
        self.texts = text_order([candidate for candidate in candidates if candidate.schema.is_text])
        self.shapes = ShapeTable(self.jsons)

    @property
    def needs_header(self) -> bool:
        """Whether an object's first record decides what the others mean. Such an object must be read from
        its start, or `Session.prime` be called with its first record."""
        return any(kind.text.needs_header for kind in self.texts)

    def warm(self) -> None:
        """Compile what is else compiled at the first record: once, before worker processes are forked."""
        for kind in self.jsons:
            kind.normalise  # noqa: B018 - a cached property
        for kind in self.texts:
            kind.text  # noqa: B018 - the same

    def session(self, info: SessionInfo, clock: Callable[[], float] = time.time) -> Session:
        """A reader for the records of one object."""
        return Session(self, info, clock)
