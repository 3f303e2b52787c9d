"""A detection joined with its code: asking its functions, and making a Match of their answers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from ingestd.detections import failure, returns, simple
from ingestd.detections.spec import Detection
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

    __slots__ = ("decide", "detection", "filter", "functions", "id", "module")

    def __init__(self, detection: Detection, decide: Function, functions: dict[str, Function]) -> None:
        self.id = detection.id
        self.detection = detection
        self.decide = decide
        """`rule` or `policy` as the author wrote it: what it returns is not checked yet."""
        self.functions = functions
        self.module: ModuleType | None = None
        self.filter: Callable[[Any], bool] | None = simple.compile_filters(detection.filters)

    @classmethod
    def bind(cls, detection: Detection, module: ModuleType | None) -> Runnable:
        """Raises CodeMissing when the code lacks the function that decides, or a condition is malformed."""
        if module is None:
            return cls(detection, *simple.compile_detection(detection))
        decide = getattr(module, detection.function, None)
        if not callable(decide):
            raise CodeMissing(f"{detection.id} has no function {detection.function}(event)")
        functions = {name: function for name in CHECKS if callable(function := getattr(module, name, None))}
        runnable = cls(detection, decide, functions)
        runnable.module = module
        return runnable

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
        answers: dict[str, Answer] = {}
        for name in CHECKS:
            answer = self._ask_unless_fixed(name, event)
            if answer is None:
                continue
            answers[name] = answer
            if isinstance(answer.error, RuleTimeout):
                timed_out()
                break
        title, dedup = _title_and_dedup(detection, answers)
        return Match(
            kind="policy" if detection.kind == "policy" else "rule",
            detection_id=detection.id,
            row_id=_text(origin.get("p_row_id")),
            log_type=log_type,
            event_time=_text(origin.get("p_event_time")),
            dedup=dedup,
            title=title,
            severity=_value(answers, "severity") or detection.severity,
            description=_value(answers, "description") or detection.description,
            reference=_value(answers, "reference") or detection.reference,
            runbook=_value(answers, "runbook") or detection.runbook,
            destinations=_value(answers, "destinations") or detection.destinations,
            context=_context(answers.get("alert_context")),
            unique=_value(answers, "unique"),
            threshold=detection.threshold,
            dedup_minutes=detection.dedup_minutes,
            creates_alert=detection.creates_alert,
            tags=detection.tags,
            reports=detection.reports,
            version=detection.version,
        )

    def _ask_unless_fixed(self, name: str, event: Any) -> Answer | None:
        detection = self.detection
        if (name == "severity" and detection.severity_is_final) or (
            name == "destinations" and detection.destinations_are_final
        ):
            return None
        return self.ask(name, event)

    def error(self, event: Any, origin: dict[str, Any], log_type: str, error: BaseException) -> Match:
        """The error match for an event on which the detection failed; may raise what the exception's own methods
        raise, or RuleTimeout."""
        where = self._ask_unless_fixed("destinations", event) if not isinstance(error, RuleTimeout) else None
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
            error=text or title,
        )


def _title_and_dedup(detection: Detection, answers: dict[str, Answer]) -> tuple[str, str]:
    """The fallback chain: title() else DisplayName else the id; dedup() else title() else a default. A title()
    that fails counts as one that said the id; a dedup() that fails or says nothing gives the default."""
    default = f"defaultDedupString:{detection.id}"
    titled = answers.get("title")
    said = None if titled is None else detection.id if titled.error else titled.value
    title = said if said is not None else detection.display_name or detection.id
    if "dedup" in answers:
        return title, answers["dedup"].value or default
    return title, said or default


def _value(answers: dict[str, Answer], name: str) -> Any:
    answer = answers.get(name)
    return None if answer is None else answer.value


def _context(answer: Answer | None) -> str:
    if answer is None:
        return "{}"
    if answer.error is not None:
        return returns.context_error(failure.shown(answer.error))
    context: str = answer.value
    return context


def _text(value: Any) -> str:
    return value if type(value) is str else ""
