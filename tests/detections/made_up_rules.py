"""Rules that nobody would write, made up at random, for routing to understand or leave alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

KEYS = ("name", "source", "user", "l", "list", "ip", "status", "NAME", "type", "code", "x", "errorCode")
VALUES = (
    "'Create'", "'iam'", "None", "''", "(0)", "(1)", "(-1)", "True", "()", "[]", "{}", "'x'", "'Root'",
    "('Create', 'iam')", "{'Create', 'x'}", "['a', None]", "{'Create': 1}", "{'type': 'Root'}",
)  # fmt: skip
GLOBALS = ("NAMES", "PREFIXES", "TABLE", "GROUPS", "LISTS", "SHOWN", "NESTED", "ALLOWED")
FIELDS = (
    "event.get(K)", "event.get(K)", "event.get(K, C)", "event.deep_get(K, K)", "event.deep_get(K, K, default=C)",
    "event[K]", "event.udm('actor')", "event.udm('status')", "event.udm('kind')", "event.udm('tags')",
    "event.deep_walk(K, K)", "event.deep_walk(K, K, default='')", "V", "V", "C", "G",
)  # fmt: skip
SHAPES = (
    "(E == E)", "(E == C)", "(E != C)", "(E in G)", "(E not in C)", "(C in E)", "(E < E)", "(E is None)", "(not E)",
    "(E and E)", "(E or E)", "(E if E else E)", "(E or {})", "(E or [])", "E.lower()", "E.startswith(PREFIXES)",
    "E.get(K)", "E.get(K, E)", "TABLE.get(E, E)", "GROUPS.get(E, E)", "len(E)", "str(E)", "bool(E)",
    "isinstance(E, (str, list))", "isinstance(E, dict)", "any(E == n for n in NAMES)", "all(n in E for n in NAMES)",
    "(n == E for n in NAMES)", "[n for n in NAMES if n == E]", "all([E, E])", "any([E, E])", "list(E)", "set(E)",
    "E[0]", "E[K]", "E[:2]", "E.split('e')", "f'{event.get(K)}x'", "(-E)", "own(event)", "kind_of(event)",
    "success(event)", "parsed(E)", "is_one_of(event, names=E)", "deep_get(event, K, K, default=E)", "deep_get(E, K)",
    "event.deep_get(K, K, default=E)", "event.get(K, E)", "event.udm('actor', default=E)", "pick(E, E)",
    "guarded(event, E)", "first(E)", "bool(CREATES.search(E))", "re.match('Cr.*e', E)", "(K in event)",
)  # fmt: skip
"""E is an expression, K a key, C a constant, G a global name, V a variable."""
HELPERS = """
def pick(a, b):
    if a:
        return b
    return a
def guarded(event, x, kind='Create'):
    if event.get('name') != kind:
        return False
    return x
def first(x):
    for item in x or []:
        if item:
            return item
    return None
"""


class RuleMaker:
    """Makes the code of one rule."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._variables = ["event"]

    def rule(self, depth: int) -> str:
        """A function `rule`, with blocks so deep."""
        last = self._random.choice(("False", "True", self._expression(2)))
        return "\n".join(["def rule(event):", *self._block(depth, 1), f"    return {last}"])

    def _expression(self, depth: int) -> str:
        choose = self._random.choice
        shape = choose(FIELDS if depth <= 0 or self._random.random() < 0.12 else SHAPES)
        return self._filled(shape, depth)

    def _filled(self, shape: str, depth: int) -> str:
        choose = self._random.choice
        made: dict[str, Callable[[], str]] = {
            "E": lambda: self._expression(depth - 1),
            "K": lambda: f'"{choose(KEYS)}"',
            "C": lambda: choose(VALUES),
            "G": lambda: choose(GLOBALS),
            "V": lambda: choose(self._variables),
        }
        return re.sub(r"\b[EKCGV]\b", lambda letter: made[letter[0]](), shape)

    def _block(self, depth: int, indent: int, *, in_loop: bool = False) -> list[str]:
        known = len(self._variables)
        lines = [line for _ in range(self._random.randint(1, 3)) for line in self._statement(depth, indent, in_loop)]
        if self._random.random() < 0.5:  # else they may be used where they are not bound
            del self._variables[known:]
        return lines

    def _statement(self, depth: int, indent: int, in_loop: bool) -> list[str]:
        choose, pad = self._random.choice, "    " * indent
        kinds = ["assign", "assign", "pair", "return", *(["leave"] if in_loop else [])]
        kind = choose([*kinds, "if", "if", "if", "else", "for", "try", "named"] if depth else kinds)
        if kind == "return":
            return [f"{pad}return {self._filled(choose(('True', 'False', 'E == 1', 'bool(E)', 'E')), 3)}"]
        if kind == "leave":
            return [pad + choose(("break", "continue"))]
        name, value = f"v{self._random.randint(0, 3)}", self._expression(2)
        if kind != "if":
            self._variables.append(name)
        if kind in ("assign", "pair"):
            return [f"{pad}{name} = {value}" if kind == "assign" else f"{pad}other, {name} = pair(event)"]
        inner = self._block(depth - 1, indent + 1, in_loop=in_loop or kind == "for")
        more = self._block(depth - 1, indent + 1, in_loop=in_loop) if kind in ("else", "try") else []
        match kind:
            case "for":
                return [f"{pad}for {name} in {value}:", *inner]
            case "try":
                caught = choose(("KeyError", "Exception", "(TypeError, AttributeError)", f"ValueError as {name}"))
                return [f"{pad}try:", *inner, f"{pad}except {caught}:", *more]
            case "else":
                return [f"{pad}if {value}:", *inner, f"{pad}else:", *more]
        return [f"{pad}if {value if kind == 'if' else f'{name} := {value}'}:", *inner]
