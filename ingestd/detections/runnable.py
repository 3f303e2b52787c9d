"""A detection joined with its code: asking its functions, and making a Match of their answers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from ingestd.detections import failure, returns, simple
from ingestd.detections.loading.modules import defined
from ingestd.detections.loading.spec import Detection
from ingestd.errors import RuleTimeout
from ingestd.model import Match

Function = Callable[[Any], Any]

CHECKS: dict[str, Callable[[Detection, Any], Any]] = {
    "title": lambda detection, value: returns.text(detection.id, "title", value),
    "description": lambda detection, value: returns.text(detection.id, "description", value),
    "reference": lambda detection, value: returns.text(detection.id, "reference", value),
    "severity": lambda detection, value: returns.severity(detection.id, value, detection.severity),
    "runbook": lambda detection, value: returns.text(detection.id, "runbook", value),
    "destinations": lambda detection, value: returns.destinations(detection.id, value),
    "dedup": lambda detection, value: returns.text(detection.id, "dedup", value),
    "alert_context": lambda detection, value: returns.context(detection.id, value),
    "unique": lambda detection, value: returns.text(detection.id, "unique", value),
}
"""The alert functions, in the order in which they run, and what makes a plain value of what each returns."""


class CodeMissing(ValueError):
    """A detection's Python file does not define what it must."""


class Answer(NamedTuple):
    """What one of the functions said: a checked, plain value, or how it failed."""

    value: Any
    error: BaseException | None = None


class Runnable:
    """A detection and its functions. Policies get the plain resource where rules get the event."""

    __slots__ = ("_asked", "_is_policy", "alerts", "decide", "detection", "filter", "functions", "id", "module")

    def __init__(self, detection: Detection, decide: Function, functions: dict[str, Function]) -> None:
        self.id = detection.id
        self.detection = detection
        self.decide = decide
        """`rule` or `policy` as the author wrote it: what it returns is not checked yet."""
        self.functions = functions
        self._is_policy = detection.kind == "policy"
        fixed = {"severity"} if detection.severity_is_final else set()
        fixed |= {"destinations"} if detection.destinations_are_final else set()
        self._asked = [
            (name, functions[name], check)
            for name, check in CHECKS.items()
            if name in functions and name not in fixed
        ]
        self.module: ModuleType | None = None
        self.filter: Callable[[Any], bool] | None = simple.compile_filters(detection.filters)
        self.alerts = decide if self.filter is None and not self._is_policy else self._decide_fully
        """Whether this event, or resource, is one to alert on. Raises what the detection raises, and where it is the
        author's own function, perhaps with neither True nor False."""

    @classmethod
    def bind(cls, detection: Detection, module: ModuleType | None) -> Runnable:
        """Raises CodeMissing when the code lacks the function that decides, or a condition is malformed."""
        if module is None:
            return cls(detection, *simple.compile_detection(detection))
        decide = defined(module, detection.function)
        if not callable(decide):
            raise CodeMissing(f"{detection.id} has no function {detection.function}(event)")
        functions = {name: function for name in CHECKS if callable(function := defined(module, name))}
        runnable = cls(detection, decide, functions)
        runnable.module = module
        return runnable

    def _decide_fully(self, event: Any) -> bool:
        """`alerts` where there is more to it than the author's function."""
        if self.filter is not None and not self.filter(event):
            return False
        said = returns.verdict(self.id, self.detection.function, self.decide(event))
        return said is not self._is_policy  # a policy says whether all is well

    def ask(self, name: str, event: Any) -> Answer | None:
        """Run one alert function; None if the detection does not have it. Never raises."""
        function = self.functions.get(name)
        if function is None:
            return None
        try:
            return Answer(CHECKS[name](self.detection, function(event)))
        except BaseException as error:  # noqa: BLE001 - a rule may raise anything, and its match must survive
            return Answer(None, error)

    def match(self, event: Any, origin: dict[str, Any], log_type: str, timed_out: Callable[[], None]) -> Match:
        """The match for an event that the detection said yes to. A function that fails leaves its default; after
        one that ran out of time the rest are not asked (`timed_out` is called)."""
        detection = self.detection
        said: dict[str, Any] = {}
        failed: dict[str, BaseException] = {}
        for name, function, check in self._asked:
            try:
                said[name] = check(detection, function(event))
            except BaseException as error:  # noqa: BLE001 - a rule may raise anything, and its match must survive
                failed[name] = error
                if isinstance(error, RuleTimeout):
                    timed_out()
                    break
        title, dedup = title_and_dedup(detection, said, failed)
        context = said.get("alert_context", "{}")
        if "alert_context" in failed:
            context = returns.context_error(failure.shown(failed["alert_context"]))
        return Match(
            kind="policy" if self._is_policy else "rule",
            detection_id=detection.id,
            row_id=_text(origin.get("p_row_id")),
            log_type=log_type,
            event_time=_text(origin.get("p_event_time")),
            dedup=dedup,
            title=title,
            severity=said.get("severity", detection.severity),
            description=said.get("description") or detection.description,
            reference=said.get("reference") or detection.reference,
            runbook=said.get("runbook") or detection.runbook,
            destinations=said.get("destinations") or detection.destinations,
            context=context,
            unique=said.get("unique"),
            threshold=detection.threshold,
            dedup_minutes=detection.dedup_minutes,
            creates_alert=detection.creates_alert,
            tags=detection.tags,
            reports=detection.reports,
            version=detection.version,
            commit=detection.commit,
            author=detection.author,
        )

    def error(self, event: Any, origin: dict[str, Any], log_type: str, error: BaseException) -> Match:
        """The error match for an event on which the detection failed; may raise what the exception's own methods
        raise, or RuleTimeout."""
        where = None
        if not isinstance(error, RuleTimeout) and not self.detection.destinations_are_final:
            where = self.ask("destinations", event)
        return self.plain_error(
            origin,
            log_type,
            dedup=returns.limited(returns.class_name(error)),
            title=failure.shown(error),
            description=failure.message(error),
            text=failure.traceback_text(error),
            destinations=where.value if where else None,
        )

    def plain_error(
        self,
        origin: dict[str, Any],
        log_type: str,
        *,
        dedup: str,
        title: str,
        description: str = "",
        text: str = "",
        destinations: tuple[str, ...] | None = None,
    ) -> Match:
        """An error match of given words. Its threshold is 1 whatever the detection's is."""
        detection = self.detection
        return Match(
            kind="error",
            detection_id=detection.id,
            row_id=_text(origin.get("p_row_id")),
            log_type=log_type,
            event_time=_text(origin.get("p_event_time")),
            dedup=dedup,
            title=title,
            severity=detection.severity,
            description=description or title,
            reference=detection.reference,
            runbook=detection.runbook,
            destinations=destinations or detection.destinations,
            dedup_minutes=detection.dedup_minutes,
            tags=detection.tags,
            reports=detection.reports,
            version=detection.version,
            commit=detection.commit,
            author=detection.author,
            error=text or title,
        )


def title_and_dedup(detection: Detection, said: dict[str, Any], failed: dict[str, BaseException]) -> tuple[str, str]:
    """The fallback chain: title() else DisplayName else the id; dedup() else title() else a default. A title()
    that fails counts as one that said the id; a dedup() that fails or says nothing gives the default."""
    default = f"defaultDedupString:{detection.id}"
    titled = detection.id if "title" in failed else said.get("title")
    title = detection.display_name or detection.id if titled is None else titled
    if "dedup" in said or "dedup" in failed:
        return title, said.get("dedup") or default
    return title, titled or default


def _text(value: Any) -> str:
    return value if type(value) is str else ""
