"""Running all detections of a log type on one event, whatever they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
import orjson

from ingestd.detections import failure, results, returns
from ingestd.detections.correlation import joins
from ingestd.detections.event import PantherEvent
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.routing.plan import Analysis, Plan
from ingestd.detections.runnable import Runnable
from ingestd.detections.watch import Watch
from ingestd.errors import RuleTimeout
from ingestd.model import Match, ResourceCheck, Verdict

Routing = Literal["on", "off", "verify"]
_NOTHING: frozenset[str] = frozenset()
_MAX_PLANS = 10_000
_MAX_MISSED = 1_000


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Routing would have left out a rule that had something to say: a bug of ours."""

    detection_id: str
    row_id: str
    kind: str


class Engine:
    """Evaluates events. One per child; not for use by several threads, because a rule's functions pass values
    to each other through globals of their module."""

    def __init__(self, detections: DetectionSet, watch: Watch, *, routing: Routing = "on") -> None:
        self.detections = detections
        self.watch = watch
        self.has_policies = bool(detections.policies)
        """Whether any is enabled. Without, `check` has nothing to say of how resources stand."""
        self.suspended: set[str] = set()
        """Ids of rules not to run until reload."""
        self.timeouts: dict[str, int] = {}
        """How often each rule ran out of time since `take_timeouts`."""
        self.missed: list[Missed] = []
        """With `routing="verify"`, which runs everything: what routing would have missed."""
        self._routing = routing
        self._analysis = None if routing == "off" else Analysis(detections)
        self._last: Runnable | None = None
        self._plans: dict[str, Plan | None] = {}
        self._policies: dict[str, tuple[Runnable, ...]] = {}
        self._queries: dict[str, tuple[Runnable, ...]] = {}
        self._correlations = results.runnables(detections)
        timetable = detections.timetable()
        self._joins = joins.fields_of(one for several in timetable.correlations.values() for one in several)
        """Of what correlation rules wait for: by which fields they join it."""
        for log_type in detections.log_types:
            self._plan(log_type)

    def evaluate(self, event: dict[str, Any], log_type: str, skip: frozenset[str] = _NOTHING) -> list[Match]:
        """Matches and error matches of one normalised event, which stays as it is. Rules named in `skip` or
        suspended are left out. Never raises, whatever a rule does."""
        plan = self._plans[log_type] if log_type in self._plans else self._plan(log_type)
        if plan is None:
            return []
        view = PantherEvent(event, plan.data_model)
        if self._routing == "verify":
            return self._joined(self._verify(plan, view, event, log_type, skip), event)
        # In careful mode the rules, and what they ask of data models, run one by one and are named beforehand.
        careful = skip or self.watch.before_call is not None
        runnables = plan.runnables if careful else plan.candidates(view)
        if not runnables:
            return []
        matches = self._evaluate(runnables, view, event, log_type, skip)
        return self._joined(matches, event) if matches else matches

    def judge(self, event: dict[str, Any], skip: frozenset[str] = _NOTHING) -> list[Match]:
        """What the detections say that a result is meant for: a row of a scheduled query, which its scheduled rules
        get as their event, or a finding of a correlation rule. Otherwise as `evaluate`."""
        kind, name, log_type = event["kind"], event["name"], event["p_log_type"]
        if kind == "correlation":
            runnables = self._correlations.get(name, ())
        else:
            if name not in self._queries:
                self._queries[name] = self.detections.for_query(name) if name in self.detections.queries else ()
            runnables = self._queries[name]
        if "error" in event:
            return [results.error(runnable, event) for runnable in runnables]
        found = event["result"]
        if not isinstance(found, dict):
            return []
        view = PantherEvent(found) if kind == "query" else found
        return self._joined(self._evaluate(runnables, view, event, log_type, skip), found)

    def _joined(self, matches: list[Match], event: dict[str, Any]) -> list[Match]:
        """The matches, those that correlation rules wait for with what they are joined by."""
        if not self._joins:
            return matches
        return [
            joins.with_joins(match, self._joins[match.detection_id], event)
            if match.kind == "rule" and match.detection_id in self._joins
            else match
            for match in matches
        ]

    def check(self, event: dict[str, Any], skip: frozenset[str] = _NOTHING) -> tuple[list[Match], ResourceCheck]:
        """Policies that a resource violates, error matches, and what each policy said; otherwise as `evaluate`.

        `event` has the snapshot under `resource`, beside `resource_id` and `resource_type`. A match's `log_type` is
        the resource type. Each policy gets a copy of the snapshot: it is a plain dict, which a policy may change.
        """
        resource_type, resource_id = event["resource_type"], event["resource_id"]
        policies = self._policies.get(resource_type)
        if policies is None:
            if len(self._policies) >= _MAX_PLANS:
                self._policies.clear()
            policies = self._policies[resource_type] = self.detections.for_resource_type(resource_type)
        snapshot = orjson.dumps(event["resource"]) if policies else b""
        matches = [
            self._of_resource(match, resource_id)
            for item in policies
            for match in self._evaluate((item,), orjson.loads(snapshot), event, resource_type, skip)
        ]
        verdicts: dict[str, Verdict] = {
            item.id: "error" if item.id in skip or item.id in self.suspended else "pass" for item in policies
        }
        for match in matches:
            verdicts[match.detection_id] = "fail" if match.kind == "policy" else "error"
        checked = ResourceCheck(
            resource_id=resource_id,
            resource_type=resource_type,
            row_id=event["p_row_id"],
            event_time=event["p_event_time"],
            verdicts=verdicts,
        )
        return matches, checked

    def _of_resource(self, match: Match, resource_id: str) -> Match:
        """A policy's match or error, with its resource: each makes an alert of its own unless the policy objects."""
        fields: dict[str, Any] = {"resource": resource_id}
        if match.kind == "policy":
            runnable = self.detections.runnables[match.detection_id]
            functions = runnable.functions
            if any(fnmatchcase(resource_id, pattern) for pattern in runnable.detection.suppressions):
                fields["creates_alert"] = False
            if "dedup" not in functions:
                fields["dedup"] = returns.limited(resource_id)
            if "alert_context" not in functions:
                described = {"resource_id": resource_id, "resource_type": match.log_type}
                fields["context"] = returns.context(match.detection_id, described)
        return msgspec.structs.replace(match, **fields)

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

    # --- running

    def _evaluate(
        self, runnables: Sequence[Runnable], view: Any, event: dict[str, Any], log_type: str, skip: frozenset[str]
    ) -> list[Match]:
        if skip or self.suspended:
            runnables = [item for item in runnables if item.id not in skip and item.id not in self.suspended]
        matches: list[Match] = []
        queue = iter(runnables)
        while True:
            # An exception ends one rule and this loop's turn; the next turn goes on with the next rule.
            try:
                if not self._run(queue, view, event, log_type, matches):
                    return matches
            except BaseException as error:  # noqa: BLE001 - time ran out while another error was being handled
                matches.append(self._cut_short(error, event, log_type))

    def _run(
        self, queue: Iterator[Runnable], view: Any, event: dict[str, Any], log_type: str, matches: list[Match]
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
                said = runnable.alerts(view)
                if said is False:
                    watch.running = None
                    continue
                returns.verdict(runnable.id, "rule", said)
                match = runnable.match(view, event, log_type, self._timed_out)
                watch.running = None
                matches.append(match)
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

    def _timed_out(self) -> None:
        name = self.watch.running
        if name is not None:
            self.timeouts[name] = self.timeouts.get(name, 0) + 1

    # --- routing

    def _verify(
        self, plan: Plan, view: PantherEvent, event: dict[str, Any], log_type: str, skip: frozenset[str]
    ) -> list[Match]:
        """Run everything; note the matches of rules that routing would have left out."""
        chosen = {item.id for item in plan.candidates(PantherEvent(event, plan.data_model))}
        matches = self._evaluate(plan.runnables, view, event, log_type, skip)
        for match in matches:
            if match.detection_id not in chosen and len(self.missed) < _MAX_MISSED:
                self.missed.append(Missed(detection_id=match.detection_id, row_id=match.row_id, kind=match.kind))
        return matches

    def _plan(self, log_type: str) -> Plan | None:
        runnables = self.detections.for_log_type(log_type)
        plan = None
        if runnables:
            plan = Plan(runnables, self.detections.data_models.get(log_type), self._analysis, self.watch)
        if len(self._plans) < _MAX_PLANS:  # a log type is a name from our own schemas; a bound all the same
            self._plans[log_type] = plan
        return plan
