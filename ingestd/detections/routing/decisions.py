"""Deciding which rules to run with few looks at an event: a tree that grows with the traffic.

Each node knows which field to look at next, and which rules are settled; what the field answers leads to the next
node. A rule is settled when its formula has become true, so that it has to run, or false. A node is made when the
first event gets there, and looks at the field that settles most rules for that event, as long as looking costs less
than running the rules. Stopping early is always right: a rule that is not settled runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from ingestd.detections.event import PantherEvent
from ingestd.detections.routing.looks import Look

Choice = TypeVar("Choice")

_RULE_COST: Final = 2.5
"""Running a rule that says no, in microseconds."""
_DOUBT: Final = 0.3
"""Chance that a rule which a field does not settle for one event is settled by it for the next."""


class Decision:
    """What is left to ask before a rule is settled. Decisions of equal content are the same object."""

    __slots__ = ("ask", "is_all", "looks", "number", "parts", "question")

    def __init__(self, number: int) -> None:
        self.number = number
        self.looks = 0
        """Bits of the fields that are asked about."""
        self.question = -1
        """Of one field, for a decision without parts."""
        self.ask = 0
        """Answers that make it true."""
        self.is_all = False
        """Whether all parts have to be true, and not any of them."""
        self.parts: tuple[Decision, ...] = ()


YES: Final = Decision(0)
NO: Final = Decision(1)
Pending = dict[Decision, int]
"""Decision to the bits of the rules that wait for it."""


class Decisions:
    """Makes decisions, and takes answers into them."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Decision] = {}
        self._settled: dict[tuple[Decision, int, bytes], Decision] = {}

    def one(self, look: int, question: int, ask: int) -> Decision:
        """True if `ask` is among the answers of a field to a question."""
        key = (look, question, ask)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Decision(len(self._known) + 2)
            found.looks, found.question, found.ask = look, question, ask
        return found

    def all(self, parts: Iterable[Decision]) -> Decision:
        """True if all parts are."""
        return self._joined(parts, is_all=True)

    def any(self, parts: Iterable[Decision]) -> Decision:
        """True if any part is."""
        return self._joined(parts, is_all=False)

    def _joined(self, parts: Iterable[Decision], *, is_all: bool) -> Decision:
        neutral, ruling = (YES, NO) if is_all else (NO, YES)
        distinct: dict[Decision, None] = {}
        for part in parts:
            if part is ruling:
                return ruling
            if part is not neutral:
                distinct.update(dict.fromkeys(part.parts if part.parts and part.is_all is is_all else (part,)))
        if len(distinct) < 2:
            return next(iter(distinct), neutral)
        ordered = tuple(sorted(distinct, key=lambda part: part.number))
        key = (is_all, *ordered)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Decision(len(self._known) + 2)
            found.is_all, found.parts = is_all, ordered
            for part in ordered:
                found.looks |= part.looks
        return found

    def answered(self, decision: Decision, look: int, answers: bytes) -> Decision:
        """What is left of the decision once a field has answered."""
        if not decision.looks & look:
            return decision
        if not decision.parts:
            return YES if answers[decision.question] & decision.ask else NO
        key = (decision, look, answers)
        found = self._settled.get(key)
        if found is None:
            parts = (self.answered(part, look, answers) for part in decision.parts)
            found = self._settled[key] = self._joined(parts, is_all=decision.is_all)
        return found


class Node(Generic[Choice]):
    """A place in the tree."""

    __slots__ = ("choice", "following", "look", "pending", "runs")

    def __init__(self, look: Look | None, runs: int, pending: Pending, choice: Choice) -> None:
        self.look = look
        """The field to look at; None where looking on is not worth it."""
        self.runs = runs
        """Bits of the rules that have to run."""
        self.pending = pending
        self.choice = choice
        """Of all rules that are not ruled out, for whoever stops here."""
        self.following: dict[bytes, Node[Choice]] = {}


class _Seen(NamedTuple):
    """A field's answers for one event."""

    look: Look
    answers: bytes


class Tree(Generic[Choice]):
    """The tree of one plan."""

    def __init__(
        self,
        decisions: Decisions,
        looks: Sequence[Look],
        cost: Callable[[Look], float],
        choose: Callable[[int], Choice],
    ) -> None:
        """`cost` is what a look costs, in microseconds; `choose` makes a choice of the bits of rules."""
        self._decisions = decisions
        self._looks = looks
        self._cost = cost
        self._choose = choose
        self._nodes: dict[tuple[object, ...], Node[Choice]] = {}
        self.branches = 0

    def begin(self, rules: Sequence[Decision], event: PantherEvent) -> Node[Choice]:
        """The first node, chosen for an event; `rules` are the decisions of all rules, the first of bit 0."""
        return self._next(((decision, 1 << number) for number, decision in enumerate(rules)), 0, event)

    def grow(self, node: Node[Choice], answers: bytes, event: PantherEvent) -> Node[Choice]:
        """The node that follows after these answers to the node's field."""
        assert node.look is not None
        answered, look = self._decisions.answered, node.look.bit
        left = ((answered(decision, look, answers), rules) for decision, rules in node.pending.items())
        self.branches += 1
        following = node.following[answers] = self._next(left, node.runs, event)
        return following

    def _next(self, decisions: Iterable[tuple[Decision, int]], runs: int, event: PantherEvent) -> Node[Choice]:
        pending = Pending()
        for decision, rules in decisions:
            if decision is YES:
                runs |= rules
            elif decision is not NO:
                pending[decision] = pending.get(decision, 0) | rules
        key = (runs, frozenset(pending.items()))
        node = self._nodes.get(key)
        if node is None:
            left = sum(pending.values(), runs)  # a rule is in one place only
            node = self._nodes[key] = Node(self._best(pending, event), runs, pending, self._choose(left))
        return node

    def _best(self, pending: Pending, event: PantherEvent) -> Look | None:
        """The field that settles most of the pending rules for this event, if looking is worth it."""
        asked = 0
        for decision in pending:
            asked |= decision.looks
        seen = [_Seen(look, look.at(event)) for look in self._looks if look.bit & asked]
        gains = dict.fromkeys((look for look, _ in seen), 0.0)
        for decision, rules in pending.items():
            for look, gain in self._gains(decision, seen):
                gains[look] += gain * rules.bit_count() * _RULE_COST
        worth = [(gain - self._cost(look), -look.bit, look) for look, gain in gains.items()]
        best = max(worth, default=None, key=lambda one: one[:2])
        return best[2] if best is not None and best[0] > 0 else None

    def _gains(self, decision: Decision, seen: Sequence[_Seen]) -> Iterable[tuple[Look, float]]:
        """How likely each field is to rule out the decision's rules, or how much it takes part in doing so."""
        concerned = [one for one in seen if one.look.bit & decision.looks]
        left = self._left(decision, concerned)
        likely = 1.0 if left is NO else _DOUBT
        if left is NO:
            concerned = self._needed(decision, concerned)
        for one in concerned:
            alone = self._left(decision, [one])
            yield one.look, 1.0 if alone is NO else likely / len(concerned)

    def _needed(self, decision: Decision, seen: Sequence[_Seen]) -> list[_Seen]:
        """Fields that are enough to rule the decision out, without the dearest that are not needed for it."""
        needed = list(seen)
        for one in sorted(seen, key=lambda one: self._cost(one.look), reverse=True):
            others = [other for other in needed if other is not one]
            if self._left(decision, others) is NO:
                needed = others
        return needed

    def _left(self, decision: Decision, seen: Iterable[_Seen]) -> Decision:
        """What is left of the decision once these have answered."""
        for look, answers in seen:
            decision = self._decisions.answered(decision, look.bit, answers)
        return decision
