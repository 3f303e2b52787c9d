"""What a timer may know about the rule that is running right now."""

from __future__ import annotations

from collections.abc import Callable


class Watch:
    """One evaluation of one rule on one event (all its functions) is a *window*.

    The engine opens it by counting `serial` up and then naming the rule in `running`, and closes it by
    setting `running` to None. A timer that finds the same `serial` running for too long may raise
    `errors.RuleTimeout` at any bytecode inside the window, and must not raise outside of it.
    """

    __slots__ = ("before_call", "running", "serial")

    def __init__(self) -> None:
        self.running: str | None = None
        self.serial = 0
        self.before_call: Callable[[str], None] | None = None
        """Careful mode: called with the detection's id before each window, so that a rule that takes the whole
        process down can be named afterwards."""
