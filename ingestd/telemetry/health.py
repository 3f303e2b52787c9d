"""How the daemon is: the state of each component, whether it is ready for work, when anything last moved."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

from ingestd import redact
from ingestd.telemetry import catalogue, occurrences

Kind = Literal["config", "state", "workers", "lake", "source", "destination", "http"]

LOOP_STUCK_SECS = 15.0
"""The event loop did not turn for so long: the process is of no use."""


class State(StrEnum):
    """Of a component. A permanent error ends that component alone, a fatal one the daemon."""

    STARTING = "starting"
    OK = "ok"
    RECOVERABLE_ERROR = "recoverable_error"
    PERMANENT_ERROR = "permanent_error"
    FATAL_ERROR = "fatal_error"
    STOPPING = "stopping"
    STOPPED = "stopped"


_FINAL = {State.FATAL_ERROR, State.STOPPED}
_ENDING = {State.PERMANENT_ERROR, State.FATAL_ERROR, State.STOPPING, State.STOPPED}


class Component:
    """State of one component, told by whoever runs it. Each change is one log line; a repeat of a state is none."""

    def __init__(self, kind: Kind, name: str, clock: Callable[[], float]) -> None:
        self.kind = kind
        self.name = name
        self.state = State.STARTING
        self.since = clock()
        self.last_error = ""
        self.last_error_at: float | None = None
        self.details: dict[str, Any] = {}
        """Further facts for `/status`, e.g. the queue's lag: plain values, no secrets."""
        self._clock = clock

    def ok(self) -> None:
        """It works. From a permanent error there is no way back but `restart`."""
        if self.state not in _ENDING:
            self._become(State.OK)

    def failing(self, error: BaseException | str) -> None:
        """It fails for now and goes on trying."""
        self._note(error)
        if self.state not in _ENDING:
            self._become(State.RECOVERABLE_ERROR)

    def failed(self, error: BaseException | str, *, fatal: bool = False) -> None:
        """It has given up; `fatal` when the daemon cannot go on without it."""
        self._note(error)
        self._become(State.FATAL_ERROR if fatal else State.PERMANENT_ERROR)

    def stopping(self) -> None:
        """It takes nothing new and finishes what it has."""
        self._become(State.STOPPING)

    def stopped(self) -> None:
        """It has ended as asked."""
        self._become(State.STOPPED)

    def restart(self) -> None:
        """It begins again, with a new configuration."""
        self.last_error, self.last_error_at = "", None
        self.state = State.STARTING
        self.since = self._clock()

    def _note(self, error: BaseException | str) -> None:
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.last_error = redact.text(text[:1_000])
        self.last_error_at = self._clock()

    def _become(self, state: State) -> None:
        if state is self.state or self.state in _FINAL:
            return
        self.state = state
        self.since = self._clock()
        error = (
            self.last_error if state in {State.RECOVERABLE_ERROR, State.PERMANENT_ERROR, State.FATAL_ERROR} else ""
        )
        occurrences.component_state(self.kind, self.name, state.value, error)

    def as_json(self) -> dict[str, Any]:
        """For `/status`."""
        answer: dict[str, Any] = {"state": self.state.value, "since": self.since}
        if self.last_error_at is not None:
            answer |= {"last_error": self.last_error, "last_error_at": self.last_error_at}
        return answer | ({"details": dict(self.details)} if self.details else {})


class Health:
    """The daemon's components and its pulse. Times are seconds since the epoch by `clock`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._components: dict[tuple[Kind, str], Component] = {}
        self.started_at = clock()
        self.loop_turned_at = clock()
        self.progress_at = clock()
        self.draining = False

    def component(self, kind: Kind, name: str = "") -> Component:
        """The component's state, made on the first call."""
        key = (kind, name)
        if key not in self._components:
            self._components[key] = Component(kind, name, self._clock)
        return self._components[key]

    def components(self) -> list[Component]:
        """All of them, in the order in which they came about."""
        return list(self._components.values())

    def forget(self, kind: Kind, name: str) -> None:
        """The component is no longer in the configuration."""
        self._components.pop((kind, name), None)
        catalogue.forget(kind=kind, name=name)

    def turned(self) -> None:
        """The event loop turned over."""
        self.loop_turned_at = self._clock()

    def moved(self) -> None:
        """Something made progress: a message, a chunk, a commit."""
        self.progress_at = self._clock()

    def why_not_alive(self) -> list[str]:
        """Reasons to restart the process; empty while it can help itself. Never a dependency's outage."""
        now = self._clock()
        reasons = [
            f"{component.kind} {component.name}".strip() + f": {component.last_error}"
            for component in self._components.values()
            if component.state is State.FATAL_ERROR
        ]
        if now - self.loop_turned_at > LOOP_STUCK_SECS:
            reasons.append(f"the event loop did not turn for {now - self.loop_turned_at:.0f} s")
        return reasons

    def why_not_ready(self) -> list[str]:
        """Reasons that no work is taken; empty when workers are warm and at least one source receives."""
        if self.draining:
            return ["draining"]
        reasons = []
        for kind in ("state", "workers", "lake"):
            for component in self._of(kind):
                if component.state not in {State.OK, State.RECOVERABLE_ERROR}:
                    reasons.append(f"{kind} is {component.state.value}")
        sources = self._of("source")
        if not any(source.state is State.OK for source in sources):
            states = ", ".join(f"{source.name} is {source.state.value}" for source in sources)
            reasons.append(f"no source receives: {states or 'none is configured'}")
        return reasons

    def as_json(self) -> dict[str, Any]:
        """For `/status`: everything, by kind and name."""
        components: dict[str, dict[str, Any]] = {}
        for (kind, name), component in self._components.items():
            components.setdefault(kind, {})[name or kind] = component.as_json()
        not_ready, not_alive = self.why_not_ready(), self.why_not_alive()
        return {
            "alive": not not_alive,
            "ready": not not_ready,
            "reasons": not_alive + not_ready,
            "draining": self.draining,
            "started_at": self.started_at,
            "progress_at": self.progress_at,
            "in_flight": int(catalogue.total(catalogue.MESSAGES_IN_FLIGHT)),
            "components": components,
        }

    def _of(self, kind: str) -> list[Component]:
        return [component for (of_kind, _), component in self._components.items() if of_kind == kind]
