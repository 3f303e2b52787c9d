"""Ingestion filters as the configuration writes them: what is not wanted of a source or a route."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from ingestd import model
from ingestd.config.base import Model


class TextMatch(Model):
    """Meets a record that holds any of these."""

    contains: tuple[str, ...] = ()
    """Texts to look for, as they stand in the file: capitals count, and so do escapes."""
    matches: tuple[str, ...] = ()
    """Regular expressions (RE2) to search for."""

    @model_validator(mode="after")
    def _says_something(self) -> TextMatch:
        if not all((*self.contains, *self.matches)) or not (self.contains or self.matches):
            raise ValueError("write at least one text under contains or one pattern under matches, and no empty one")
        return self


class RawFilterConfig(Model):
    """A filter of records before they are parsed. Of rows (Avro, Parquet, XML) it sees their JSON."""

    include: TextMatch | None = None
    """Only records that meet this stay."""
    exclude: TextMatch | None = None
    """Records that meet this go."""

    @model_validator(mode="after")
    def _is_usable(self) -> RawFilterConfig:
        _one_of(self.include, self.exclude)
        _compile(model.Filters(raw=(self.to_filter(),)))
        return self

    def to_filter(self) -> model.RawFilter:
        """The same as the noun that crosses the process boundary."""
        found = self.include or self.exclude or TextMatch(contains=("",))
        return model.RawFilter(keeps=self.include is not None, contains=found.contains, matches=found.matches)


class EventFilterConfig(Model):
    """A filter of normalised events."""

    log_types: tuple[str, ...] = ()
    """Log types that it is for. Empty: all."""
    include: tuple[dict[str, Any], ...] | None = None
    """Only events that meet all of these conditions stay. Written as in InlineFilters of detections."""
    exclude: tuple[dict[str, Any], ...] | None = None
    """Events that meet all of these conditions go."""

    @model_validator(mode="after")
    def _is_usable(self) -> EventFilterConfig:
        _one_of(self.include, self.exclude)
        _compile(model.Filters(events=(self.to_filter(),)))
        return self

    def to_filter(self) -> model.EventFilter:
        """The same as the noun that crosses the process boundary."""
        conditions = self.include if self.include is not None else self.exclude or ()
        return model.EventFilter(keeps=self.include is not None, log_types=self.log_types, conditions=conditions)


class FiltersConfig(Model):
    """What is not wanted. A record must pass every filter, whatever their order; what they leave out is counted as
    `filtered`, and stands nowhere else."""

    raw: tuple[RawFilterConfig, ...] = ()
    """On records as they stand in the file: cheap, since what goes is not even parsed."""
    events: tuple[EventFilterConfig, ...] = ()
    """On normalised events, by their fields."""

    def to_filters(self, more: FiltersConfig) -> model.Filters:
        """These and those of `more`, as nouns."""
        return model.Filters(
            raw=tuple(one.to_filter() for one in (*self.raw, *more.raw)),
            events=tuple(one.to_filter() for one in (*self.events, *more.events)),
        )


def _one_of(include: object, exclude: object) -> None:
    if (include is None) == (exclude is None):
        raise ValueError("a filter has either include or exclude; write two for both")


def _compile(filters: model.Filters) -> None:
    from ingestd.workers.filters import Compiled  # the detections' language is loaded only where it is used

    Compiled(filters)
