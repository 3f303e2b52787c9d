"""What was seen, per path: kinds, forms of texts, ranges, presence. One pass, in bounded memory.

Shapes repeat, so an object is looked up by its keys and the types of its values; the plan found there says which
values to go into. Counts of keys and types are kept per plan, exact, and added up in the end; values are looked
at in the first records, then in some.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ingestd.schemas import jsontext
from ingestd.schemas.infer.forms import FORMS, Forms

MOST_KEYS: Final = 300
"""Of an object; one with more is a map."""
MOST_ROOT_KEYS: Final = 2000
MOST_NODES: Final = 8000
MOST_DEPTH: Final = 24
_MOST_SHAPES = 256
_MOST_VALUES = 64
_LONGEST_VALUE = 64
_MOST_FORMS = 200
_THOROUGH = 5000
"""Records that are looked at whole; in later ones values of a shape are, the first times and then each 64th."""
_OFTEN = 32
_SELDOM = 63
_MOST_ELEMENTS = 1000
"""Of one array that are gone into."""

SCANNED: Final = frozenset({"ip", "aws_arn", "aws_account_id", "aws_instance_id", "email", "md5", "sha1", "sha256"})


class Plan:
    """What to do with objects of one shape."""

    __slots__ = ("arrays", "children", "count", "leaves", "objects")

    def __init__(self) -> None:
        self.count = 0
        self.children: list[tuple[Node, type]] = []
        self.objects: list[tuple[str, Node]] = []
        self.arrays: list[tuple[str, Node]] = []
        self.leaves: list[tuple[str, Node]] = []


class Node:
    """Evidence at one path."""

    __slots__ = (
        "collapsed",
        "deep",
        "depth",
        "element",
        "embedded",
        "examples",
        "fields",
        "forms",
        "high",
        "huge",
        "keys",
        "kinds",
        "longest",
        "looked",
        "loose",
        "low",
        "objects",
        "shapes",
        "shortest",
        "values",
        "zeros",
    )  # fmt: skip

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.kinds: dict[type, int] = {}
        """Type of the value → times, complete after `fold`."""
        self.forms: dict[Forms, int] = {}
        self.values: dict[str, int] = {}
        """Short texts → times looked at, until there are too many different ones."""
        self.examples: list[str] = []
        self.looked = 0
        self.shortest = 1 << 30
        self.longest = 0
        self.low: float = float("inf")
        self.high: float = float("-inf")
        self.huge = False
        """Integers beyond 64 bits."""
        self.zeros = False
        self.objects = 0
        self.keys = 0
        """Keys of all objects together."""
        self.fields: dict[str, Node] = {}
        self.shapes: dict[tuple[Any, ...], Plan] = {}
        self.collapsed = False
        """Too many keys, or too deep: a map."""
        self.deep = False
        self.loose: set[str] = set()
        """Forms seen anywhere in a map."""
        self.element: Node | None = None
        self.embedded: Node | None = None

    @property
    def seen(self) -> int:
        """How often there was a value other than null."""
        return sum(count for kind, count in self.kinds.items() if kind is not type(None))

    def fold(self) -> None:
        """Add up the counts of plans, here and below."""
        self._fold_plans()
        for child in self.fields.values():
            child.fold()
        for inner in (self.element, self.embedded):
            if inner is not None:
                inner.fold()
        for value, count in self.values.items():
            forms = FORMS[value]
            if count > 1:
                self.forms[forms] = self.forms.get(forms, 0) + count - 1
                self.values[value] = count

    def _fold_plans(self) -> None:
        for plan in self.shapes.values():
            for child, kind in plan.children:
                child.kinds[kind] = child.kinds.get(kind, 0) + plan.count
        self.shapes.clear()


class Evidence:
    """Collects from decoded records."""

    def __init__(self) -> None:
        self.root = Node(0)
        self.records = 0
        self.nodes = 1
        self._thorough = True

    def observe(self, record: dict[str, Any]) -> None:
        """Take one record in. Never raises."""
        self.records += 1
        self._thorough = self.records <= _THOROUGH
        self._object(self.root, record)

    def _object(self, node: Node, box: dict[str, Any]) -> None:
        node.objects += 1
        if node.collapsed:
            if not node.objects & _SELDOM:
                self._scan(node, box)
            return
        shape = (*box, *map(type, box.values()))
        plan = node.shapes.get(shape)
        if plan is None:
            plan = self._plan(node, box, shape)
        count = plan.count = plan.count + 1
        for key, child in plan.objects:
            self._object(child, box[key])
        for key, child in plan.arrays:
            self._array(child, box[key])
        if self._thorough or count < _OFTEN or not count & _SELDOM:
            node.keys += len(box)
            for key, child in plan.leaves:
                self._look(child, box[key])

    def _plan(self, node: Node, box: dict[str, Any], shape: tuple[Any, ...]) -> Plan:
        if len(node.shapes) >= _MOST_SHAPES:
            node._fold_plans()
        plan = Plan()
        for key, value in box.items():
            child = self._child(node, key)
            if child is None:
                self._scan(node, {key: value})
                continue
            kind = type(value)
            plan.children.append((child, kind))
            if kind is dict or kind is list:
                if child.depth >= MOST_DEPTH:
                    child.deep = True
                else:
                    (plan.objects if kind is dict else plan.arrays).append((key, child))
            elif kind is str or kind is int or kind is float:
                plan.leaves.append((key, child))
        node.shapes[shape] = plan
        return plan

    def _child(self, node: Node, key: str) -> Node | None:
        child = node.fields.get(key)
        if child is None:
            limit = MOST_KEYS if node.depth else MOST_ROOT_KEYS
            if len(node.fields) >= limit or self.nodes >= MOST_NODES:
                node.collapsed = node.depth > 0
                return None
            self.nodes += 1
            child = node.fields[key] = Node(node.depth + 1)
        return child

    def _array(self, node: Node, items: list[Any]) -> None:
        element = node.element
        if element is None:
            element = node.element = Node(node.depth + 1)
        kinds = element.kinds
        for item in items if len(items) <= _MOST_ELEMENTS else items[:_MOST_ELEMENTS]:
            kind = type(item)
            count = kinds[kind] = kinds.get(kind, 0) + 1
            if kind is dict or kind is list:
                if element.depth >= MOST_DEPTH:
                    element.deep = True
                elif kind is dict:
                    self._object(element, item)
                else:
                    self._array(element, item)
            elif (kind is str or kind is int or kind is float) and (
                self._thorough or count < _OFTEN or not count & _SELDOM
            ):
                self._look(element, item)

    def _look(self, node: Node, value: Any) -> None:
        """Look at a text or number itself."""
        node.looked += 1
        if isinstance(value, str):
            self._text(node, value)
            return
        node.low, node.high = min(node.low, value), max(node.high, value)
        if value.__class__ is int:
            node.huge = node.huge or not -(1 << 63) <= value < 1 << 63
        elif abs(value) >= 1 << 63 and float(value).is_integer():
            node.huge = True

    def _text(self, node: Node, text: str) -> None:
        values = node.values
        if text in values:
            values[text] += 1
            return
        forms = FORMS[text]
        if len(node.forms) < _MOST_FORMS or forms in node.forms:
            node.forms[forms] = node.forms.get(forms, 0) + 1
        else:
            node.forms[("text",)] = node.forms.get(("text",), 0) + 1
        if len(values) < _MOST_VALUES and len(text) <= _LONGEST_VALUE:
            values[text] = 1
        if len(node.examples) < 3:
            node.examples.append(text[:_LONGEST_VALUE])
        if forms != ("absent",) and forms != ("blank",):
            node.shortest, node.longest = min(node.shortest, len(text)), max(node.longest, len(text))
            node.zeros = node.zeros or (text[0] == "0" and len(text) > 1 and text.isdigit())
        if forms == ("json",) and node.depth < MOST_DEPTH // 2:
            self._embedded(node, text)

    def _embedded(self, node: Node, text: str) -> None:
        try:
            inner = jsontext.loads(text.encode(), MOST_DEPTH)
        except ValueError:
            return
        if node.embedded is None:
            node.embedded = Node(node.depth + 1)
        kind = type(inner)
        node.embedded.kinds[kind] = node.embedded.kinds.get(kind, 0) + 1
        if kind is dict:
            self._object(node.embedded, inner)
        elif kind is list:
            self._array(node.embedded, inner)

    def _scan(self, node: Node, value: Any) -> None:
        """Forms of the texts in a map."""
        todo = [value]
        for box in todo:
            for item in box.values() if isinstance(box, dict) else box if isinstance(box, list) else (box,):
                if item.__class__ is str:
                    node.loose.update(SCANNED.intersection(FORMS[item]))
                elif item.__class__ is dict or item.__class__ is list:
                    todo.append(item)


def decode(data: bytes) -> Any:
    """A record as JSON, however deep: no one here follows deeper than `MOST_DEPTH`. Raises ValueError."""
    try:
        return orjson.loads(data)
    except ValueError:
        return jsontext.loads(data)
