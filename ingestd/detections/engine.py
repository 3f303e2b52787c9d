"""Running all detections of a log type on one event, whatever they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingestd.detections import failure, guards, returns
from ingestd.detections.event import PantherEvent
from ingestd.detections.load import DetectionSet
from ingestd.detections.routing import Plan, analyse_all
from ingestd.detections.runnable import Runnable
from ingestd.detections.watch import Watch
from ingestd.errors import RuleTimeout
from ingestd.model import Match

_NOTHING: frozenset[str] = frozenset()


class Engine:
    """Evaluates events. One per child; not for use by several threads, because a rule's functions pass values
    to each other through globals of their module."""

    def __init__(self, detections: DetectionSet, watch: Watch, *, routing: bool = True) -> None:
        self.detections = detections
        self.watch = watch
        self.suspended: set[str] = set()
        """Ids of rules not to run until reload."""
        self.timeouts: dict[str, int] = {}
        """How often each rule ran out of time since `take_timeouts`."""
        self._guards = analyse_all(detections) if routing else {}
        self._last: Runnable | None = None
        self._plans: dict[str, Plan | None] = {}
        for log_type in detections.log_types:
            self._plan(log_type)

    def evaluate(self, event: dict[str, Any], log_type: str, skip: frozenset[str] = _NOTHING) -> list[Match]:
        """Matches and error matches of one normalised event, which stays as it is. Rules named in `skip` or
        suspended are left out. Never raises, whatever a rule does."""
        plan = self._plans[log_type] if log_type in self._plans else self._plan(log_type)
        if plan is None:
            return []
        view = PantherEvent(event, plan.data_model)
        # In careful mode the rules, and what they ask of data models, run one by one and are named beforehand.
        careful = skip or self.watch.before_call is not None
        runnables = plan.runnables if careful else plan.candidates(view)
        if skip or self.suspended:
            runnables = tuple(item for item in runnables if item.id not in skip and item.id not in self.suspended)
        if not runnables:
            return []
        matches: list[Match] = []
        queue = iter(runnables)
        # Each exception ends one rule and the loop, which goes on with the next rule: a loop without a
        # try inside costs less, and most events raise nothing.
        while True:
            try:
                if not self._run(queue, view, event, log_type, matches):
                    return matches
            except BaseException as error:  # noqa: BLE001 - time ran out while another error was being handled
                matches.append(self._cut_short(error, event, log_type))

    def _run(
        self,
        queue: Iterator[Runnable],
        view: PantherEvent,
        event: dict[str, Any],
        log_type: str,
        matches: list[Match],
    ) -> bool:
        """Run rules until the queue is empty (False) or one has failed (True)."""
        watch = self.watch
        before_call = watch.before_call
        runnable: Runnable | None = None
        try:
            for runnable in queue:
                if before_call is not None:
                    before_call(runnable.id)
                watch.serial += 1
                watch.running = runnable.id
                if (runnable.filter is None or runnable.filter(view)) and (
                    (said := runnable.decide(view)) is not False
                ):
                    returns.verdict(runnable.id, "rule", said)
                    match = runnable.match(view, event, log_type, self._timed_out)
                    watch.running = None
                    matches.append(match)
                else:
                    watch.running = None
        except BaseException as error:  # noqa: BLE001 - a rule may raise anything; the window is still open
            assert runnable is not None
            matches.append(self._failed(runnable, error, view, event, log_type))
            return True
        return False

    def _failed(
        self, runnable: Runnable, error: BaseException, view: Any, event: dict[str, Any], log_type: str
    ) -> Match:
        """Make an error match of what a rule raised. The exception's own methods are the rule's code too, so
        they run inside the rule's window, which ends here in any case."""
        self._last = runnable
        try:
            if isinstance(error, RuleTimeout):
                self._timed_out()
            match = runnable.error(view, event, log_type, error)
            self.watch.running = None
        except BaseException:  # noqa: BLE001 - time ran out, or memory, while describing the error
            self.watch.running = None
            name = returns.class_name(error)
            match = runnable.plain_error(event, log_type, dedup=name, title=f"{name}()")
        failure.forget(error)
        return match

    def _cut_short(self, error: BaseException, event: dict[str, Any], log_type: str) -> Match:
        running, self.watch.running = self.watch.running, None
        runnable = self.detections.runnables[running] if running is not None else self._last
        assert runnable is not None
        name = returns.class_name(error)
        failure.forget(error)
        return runnable.plain_error(event, log_type, dedup=name, title=f"{name}()")

    def killed(self, detection_id: str, event: dict[str, Any], log_type: str) -> Match | None:
        """The error match for a rule that took a worker down on this event; None for an id not loaded."""
        runnable = self.detections.runnables.get(detection_id)
        if runnable is None:
            return None
        title = f"{detection_id} ended the worker process that ran it; it was not run on this record again"
        return runnable.plain_error(event, log_type, dedup="WorkerKilled", title=title)

    def take_timeouts(self) -> dict[str, int]:
        """How often each rule ran out of time since the last call."""
        taken, self.timeouts = self.timeouts, {}
        return taken

    def _timed_out(self) -> None:
        name = self.watch.running
        if name is not None:
            self.timeouts[name] = self.timeouts.get(name, 0) + 1

    def _plan(self, log_type: str) -> Plan | None:
        runnables = self.detections.for_log_type(log_type)
        plan = None
        if runnables:
            formulas = [self._guards.get(runnable.id, guards.TRUE) for runnable in runnables]
            plan = Plan(runnables, self.detections.data_models.get(log_type), formulas, self.watch)
        if len(self._plans) < 10_000:  # a log type is a name from our own schemas; a bound all the same
            self._plans[log_type] = plan
        return plan
