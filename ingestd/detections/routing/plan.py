"""Which rules could say yes to an event, found by looking at few of its fields.

Each rule has a formula that is false only for events on which the rule returns False with no effect
(`guards.analyse`). The formulas of a log type's rules share their questions about fields: a tree (`decisions`) asks
those that settle most. Values are looked up as rules look them up, so a key in another case, or a missing key with a
default, comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ingestd.detections.datamodels import DataModel, Method
from ingestd.detections.event import PantherEvent
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.routing import guards
from ingestd.detections.routing.decisions import NO, YES, Decision, Decisions, Node, Tree
from ingestd.detections.routing.expressions import PRESENT, Expression, Field
from ingestd.detections.routing.formulas import TRUE, Asks, Atom, Formula, answer
from ingestd.detections.routing.looks import MAX_VALUES, Look
from ingestd.detections.routing.readers import Failed, reader
from ingestd.detections.routing.sources import Sources
from ingestd.detections.runnable import Runnable
from ingestd.detections.watch import Watch

_MAX_BRANCHES = 8_192
"""Of one tree. Then another one begins."""
_FREE_BRANCHES = 4_096
_EVENTS_PER_BRANCH = 8
"""Events that pay for one more branch: traffic that never repeats itself must not spend its time on growing trees."""
_COSTS = {"get": 0.4, "chain": 0.6, "udm": 1.5, "method": 4.0, "walk": 2.0, "within": 1.2, "each": 2.5}
_QUESTION_COST = 0.2
"""Of a look, and of one question about a text not met before, in microseconds."""
_EMPTY = PantherEvent({})
_REPEATS = 4
"""Events per text, below which a field's texts count as unique."""


class Analysis:
    """What the code of all detections says about when its rules may say yes."""

    def __init__(self, detections: DetectionSet) -> None:
        self._sources = Sources(detections.modules())
        self._formulas: dict[str, Formula] = {}
        for name, runnable in detections.runnables.items():
            if runnable.module is not None and runnable.detection.kind == "rule":
                source = self._sources.by_name[runnable.module.__name__]
                self._formulas[name] = guards.analyse(self._sources, source)

    def formula(self, detection_id: str) -> Formula:
        """False for events for which the rule returns False with no effect; TRUE if nothing is known."""
        return self._formulas.get(detection_id, TRUE)

    def of_method(self, method: Method, atom: Atom) -> Formula:
        """A question about what a data model's method answers, in terms of the fields that the method reads."""
        source = self._sources.by_name.get(str(getattr(method, "__module__", "")))
        name = str(getattr(method, "__name__", ""))
        if source is None or source.module.__dict__.get(name) is not method:
            return guards.about_method(atom)
        return guards.analyse_method(self._sources, source, name, atom)


class Plan:
    """The rules of one log type, and what to ask of an event to choose among them."""

    def __init__(
        self,
        runnables: Sequence[Runnable],
        data_model: DataModel | None,
        analysis: Analysis | None,
        watch: Watch,
    ) -> None:
        """Without an analysis, every rule runs."""
        self.data_model = data_model
        self.runnables = tuple(runnables)
        self._watch = watch
        self._analysis = analysis
        self._events = 0
        self._branches = 0
        """Of all trees so far."""
        self._filled_at: dict[Field, int] = {}
        self._unique: set[Field] = set()
        """Fields of which hardly any text comes twice: looking at them costs what their questions cost."""
        self._root: Node[tuple[Runnable, ...]] | None = None
        """Begun with the first event."""
        self._plant()

    def _plant(self) -> None:
        """Begin a tree."""
        decisions = Decisions()
        questions = _Questions(decisions, self.data_model, self._analysis)
        self._rules = [questions.decision(runnable) for runnable in self.runnables]
        looks = questions.looks()
        for look in looks:
            self._prepare(look)
        self._chosen: dict[int, tuple[Runnable, ...]] = {}
        self._tree = Tree(decisions, looks, self._cost, self._choose)

    def _prepare(self, look: Look) -> None:
        look.filled = lambda: self._note_filled(look)
        first = next((number for number, rule in enumerate(self._rules) if rule.looks & look.bit), 0)
        asker = self.runnables[first].id
        if look.field.root.how == "method":
            look.read = _within_time(look.read, asker, self._watch, Failed())
        if look.may_take_long:
            look.ask = _within_time(look.ask, asker, self._watch, None)

    def candidates(self, event: PantherEvent) -> tuple[Runnable, ...]:
        """The rules to run, in their order."""
        self._events += 1
        node = self._root
        if node is None:
            node = self._begin(event)
        look = node.look
        container, seen = event._container, event._seen
        while look is not None:
            # `look.at(event)` written out, the usual ways first.
            key = look.key
            value = look.read(event) if key is None else container.get(key)
            if type(value) is str:
                answers = look.texts[value]
            else:
                if key is not None:
                    value = seen[key]
                table = look.tables.get(type(value))
                answers = look.unknown if table is None else table[value]
            following = node.following.get(answers)
            if following is None:
                if self._branches >= _FREE_BRANCHES + self._events // _EVENTS_PER_BRANCH:
                    break
                following = self._grow(node, answers, event)
            node = following
            look = node.look
        return node.choice

    def _begin(self, event: PantherEvent) -> Node[tuple[Runnable, ...]]:
        if self._tree.branches:
            self._plant()
        node = self._root = self._tree.begin(self._rules, event)
        return node

    def _grow(
        self, node: Node[tuple[Runnable, ...]], answers: bytes, event: PantherEvent
    ) -> Node[tuple[Runnable, ...]]:
        self._branches += 1
        following = self._tree.grow(node, answers, event)
        if self._tree.branches >= _MAX_BRANCHES:
            self._root = None
        return following

    def _choose(self, rules: int) -> tuple[Runnable, ...]:
        chosen = self._chosen.get(rules)
        if chosen is None:
            chosen = tuple(self.runnables[number] for number in range(rules.bit_length()) if rules >> number & 1)
            self._chosen[rules] = chosen
        return chosen

    def _cost(self, look: Look) -> float:
        steps = 0.3 * (len(look.field.keys) - 1)
        return (
            _COSTS[look.field.how] + steps + (_QUESTION_COST * look.searching if look.field in self._unique else 0.0)
        )

    def _note_filled(self, look: Look) -> None:
        """A field's answers to texts have used up their room."""
        since = self._filled_at.get(look.field, 0)
        self._filled_at[look.field] = self._events
        if self._events - since < _REPEATS * MAX_VALUES and look.field not in self._unique:
            self._unique.add(look.field)
            self._root = None


class _Questions:
    """What the formulas of a log type's rules ask, each question once."""

    def __init__(self, decisions: Decisions, data_model: DataModel | None, analysis: Analysis | None) -> None:
        self._decisions = decisions
        self._model = data_model
        self._analysis = analysis
        self._by_field: dict[Field, dict[str, Expression]] = {}
        self._made: dict[int, tuple[Formula, Decision]] = {}
        self._of_methods: dict[tuple[Field, str, Asks], Decision] = {}

    def decision(self, runnable: Runnable) -> Decision:
        """The formula of a rule in terms of fields and the questions about them."""
        if self._analysis is None:
            return YES
        try:
            return self._decision(self._analysis.formula(runnable.id))
        except RecursionError:
            return YES

    def looks(self) -> list[Look]:
        """The fields, with all questions so far."""
        return [
            Look(field, number, tuple(asked.values())) for number, (field, asked) in enumerate(self._by_field.items())
        ]

    def _decision(self, formula: Formula) -> Decision:
        made = self._made.get(id(formula))  # parts of a formula are shared
        if made is None:
            made = self._made[id(formula)] = (formula, self._new(formula))
        return made[1]

    def _new(self, formula: Formula) -> Decision:
        match formula.kind:
            case "atom":
                assert formula.atom is not None
                return self._of_atom(formula.atom)
            case "and":
                return self._decisions.all([self._decision(part) for part in formula.parts])
            case "or":
                return self._decisions.any([self._decision(part) for part in formula.parts])
        return YES if formula is TRUE else NO

    def _of_atom(self, atom: Atom) -> Decision:
        expression, asks = atom
        field = expression.field
        assert field is not None
        name = field.root.keys[0]
        is_asked = field.root.how == "udm" and self._model is not None and name in self._model.methods
        if is_asked and self._model is not None and self._analysis is not None:
            return self._of_method(self._analysis, self._model, atom)
        if asks is Asks.RAISES and expression.takes_anything and self._never_fails(field):
            return NO
        expression = self._by_field.setdefault(field, {}).setdefault(expression.key, expression)
        asked = self._asked(field, expression, asks)
        is_deep = field.how in {"get", "walk"} and len(field.keys) > 1
        if not is_deep or answer(expression, reader(field)(_EMPTY)) & asks:
            return asked
        # It can only be so where there is something under the first keys: one look settles all that is asked of it.
        outer = Field(field.keys[: min(2, len(field.keys) - 1)])
        if field.how == "walk":  # a list on the way hides nothing from it
            outer = outer._replace(how="walk", given=repr((None, "all")))
        return self._decisions.all([asked, self._asked(outer, PRESENT, Asks.TRUTHY)])

    def _asked(self, field: Field, expression: Expression, asks: Asks) -> Decision:
        asked = self._by_field.setdefault(field, {})
        asked.setdefault(expression.key, expression)
        bit = 1 << list(self._by_field).index(field)
        return self._decisions.one(bit, list(asked).index(expression.key), int(asks))

    def _of_method(self, analysis: Analysis, model: DataModel, atom: Atom) -> Decision:
        """A question about what a data model's method gives, or has to do with it."""
        expression, asks = atom
        field = expression.field
        assert field is not None
        key = (field, expression.key, asks)
        if key not in self._of_methods:
            name = field.root.keys[0]
            if field.of is None and name not in model.paths:
                formula = analysis.of_method(model.methods[name], atom)
            else:
                formula = guards.about_method(atom)
            self._of_methods[key] = self._decision(formula)
        return self._of_methods[key]

    def _never_fails(self, field: Field) -> bool:
        """Whether it is a standard field that no author's code and no path with several matches can make fail."""
        return field.how == "udm" and (self._model is None or self._model.never_fails(field.keys[0]))


Asked = TypeVar("Asked")


def _within_time(ask: Callable[[Asked], Any], asker: str, watch: Watch, otherwise: Any) -> Callable[[Asked], Any]:
    """A question that an author's code answers, or one that may take long: it is asked in a window, that of the first
    rule which would ask. If it fails, the rules that ask run and meet the failure themselves."""

    def asked(about: Asked) -> Any:
        watch.serial += 1
        watch.running = asker
        try:
            value = ask(about)
            watch.running = None
        except BaseException:  # noqa: BLE001 - an author's code may raise anything
            watch.running = None
            return otherwise
        return value

    return asked
