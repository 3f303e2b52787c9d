"""Who gets an alert.

Names that the detection gives, by its `destinations()` function or its static list, come first; `SKIP` is nobody.
Without names, every destination gets it whose severities, log types and kinds fit. A name that is not configured
never costs an alert: the known names get it and default routing takes the unknown one's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

SKIP = "SKIP"
"""In the place of a destination's name: send to nobody."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What one destination takes by default. Empty sets take everything."""

    name: str
    severities: frozenset[str] = frozenset()
    log_types: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    default: bool = True
    """False: only alerts that name it."""

    def takes(self, kind: str, severity: str, log_types: Iterable[str]) -> bool:
        """Whether an alert without names comes here. An alert without log types passes any choice of them."""
        log_types = set(log_types)
        return (
            self.default
            and (not self.kinds or kind in self.kinds)
            and (not self.severities or severity in self.severities)
            and (not self.log_types or not log_types or not self.log_types.isdisjoint(log_types))
        )


class Receivers(msgspec.Struct, frozen=True, kw_only=True):
    """Where one alert goes: configured names, each once, and names that nobody has."""

    names: tuple[str, ...]
    unknown: tuple[str, ...] = ()


class RoutingConfig(Protocol):
    """The part of a destination's configuration that routing reads."""

    @property
    def severities(self) -> tuple[str, ...]: ...  # noqa: D102 - see `ingestd.config.models.DestinationConfig`
    @property
    def log_types(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def kinds(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def default(self) -> bool: ...  # noqa: D102


class Routing:
    """The rules of all destinations."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = {rule.name: rule for rule in rules}

    @classmethod
    def from_configs(cls, configs: Mapping[str, RoutingConfig]) -> Routing:
        """From the configuration: destination's name → its `DestinationConfig`."""
        return cls(
            Rule(
                name=name,
                severities=frozenset(config.severities),
                log_types=frozenset(config.log_types),
                kinds=frozenset(config.kinds),
                default=config.default,
            )
            for name, config in configs.items()
        )

    def receivers(
        self, names: tuple[str, ...] | None, *, kind: str, severity: str, log_types: Iterable[str]
    ) -> Receivers:
        """Who gets an alert for which the detection gave `names` (None: it gave none)."""
        if names is not None:
            wanted = tuple(dict.fromkeys(name for name in names if name != SKIP))
            unknown = tuple(name for name in wanted if name not in self._rules)
            if not unknown:
                return Receivers(names=wanted)
            known = tuple(name for name in wanted if name in self._rules)
        else:
            known, unknown = (), ()
        by_default = [rule.name for rule in self._rules.values() if rule.takes(kind, severity, log_types)]
        return Receivers(names=tuple(dict.fromkeys((*known, *by_default))), unknown=unknown)
