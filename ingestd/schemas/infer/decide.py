"""From evidence to fields: all decisions are made here, at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ingestd.schemas.infer import names
from ingestd.schemas.infer.evidence import MOST_DEPTH, Node
from ingestd.schemas.infer.forms import EPOCHS, FORMS, TIME_FORMS, Forms, epochs
from ingestd.schemas.transliterate import column_name

_PROVEN = ("aws_arn", "aws_instance_id", "ip", "url", "email", "mac", "md5", "sha1", "sha256")
"""Indicators that a form proves by itself."""
_MOST = 0.9
_SOME = 0.1
_MOST_ENUM = 12
_MANY, _ODD = 20, 0.05
"""Of so many values a share so small may be of another kind: redacted, or broken."""
_FEW = 10
"""Below so many values a decision is marked as resting on little."""
_MAP_OBJECTS, _MAP_KEYS, _MAP_SHARE = 20, 20, 0.2
_SCANNED: Final = ("ip", "aws_arn", "aws_instance_id", "aws_account_id", "email", "md5", "sha1", "sha256")


class Field(msgspec.Struct, kw_only=True):
    """A field as decided, its evidence, and what a reader should look at."""

    name: str
    path: str
    type: str
    attributes: dict[str, Any] = {}
    """As in the schema language: indicators, timeFormats, isEventTime, isEmbeddedJSON, required, keyValues…"""
    fields: list[Field] = []
    element: Field | None = None
    notes: list[str] = []
    confidence: float = 1.0
    seen: int = 0
    of: int = 0
    evidence: dict[str, int] = {}
    counter_examples: list[str] = []
    odd: int = 0
    """Values of another kind than nearly all others: the record is kept without them."""
    absent: list[str] = []
    """Texts for "nothing" that stood among typed values."""

    @property
    def parent(self) -> str:
        """Name of the object around it."""
        return self.path.rpartition(".")[0].rpartition(".")[2]

    @property
    def has_odd(self) -> bool:
        """Whether records may have to be kept without this field, or one below."""
        return any(field.odd for field in self.walk())

    def walk(self) -> Iterable[Field]:
        """This field and all below."""
        yield self
        if self.element is not None:
            yield from self.element.walk()
        for field in self.fields:
            yield from field.walk()


class Decider:
    """`text`: values come from lines of text, where numbers have no type of their own."""

    def __init__(self, *, text: bool) -> None:
        self._text = text
        self.skipped: list[str] = []
        """Paths that cannot be declared, with the reason."""

    def fields(self, node: Node, path: str = "", *, of: int | None = None) -> list[Field] | None:
        """Fields of an object; None when two of them would be one column."""
        found: dict[str, Field] = {}
        total = node.objects if of is None else of
        for name, child in sorted(node.fields.items(), key=lambda pair: -pair[1].seen):
            here = f"{path}.{name}" if path else name
            folded = column_name(name).lower()
            if not child.seen:
                self.skipped.append(f"{here}: always null")
            elif folded in found and found[folded].name.lower() == name.lower():
                self.skipped.append(f"{here}: read as {found[folded].name}, from which it differs in capitals only")
            elif not name.strip() or (not path and folded.startswith("p_")) or folded in found:
                if path:
                    return None
                self.skipped.append(f"{here}: cannot be a column beside the others")
            else:
                found[folded] = self.field(name, here, child, total)
        order = {column_name(name).lower(): at for at, name in reversed(list(enumerate(node.fields)))}
        return sorted(found.values(), key=lambda field: order[column_name(field.name).lower()])

    def field(self, name: str, path: str, node: Node, of: int) -> Field:
        """One value, whatever it is."""
        made = Field(name=name, path=path, type="json", seen=node.seen, of=of)
        made.evidence = {_kind_name(kind): count for kind, count in node.kinds.items() if kind is not type(None)}
        kinds = self._usual(made, node)
        if node.deep or node.depth >= MOST_DEPTH:
            made.notes.append("nested too deep to be declared")
        elif kinds == {dict}:
            self._object(made, node)
        elif kinds == {list}:
            self._array(made, node)
        elif not kinds & {dict, list}:
            self._scalar(made, node, kinds)
        else:
            made.notes.append(f"sometimes {' and sometimes '.join(sorted(map(_kind_name, kinds)))}")
            made.confidence = 0.5
        if made.type == "json":
            self._scannable(made, node)
        if made.seen < _FEW and made.type != "json":
            made.confidence = min(made.confidence, 0.6)
        return made

    def _usual(self, made: Field, node: Node) -> set[type]:
        """The kinds of the values, without the few that nearly none has. In lines of text all are texts."""
        kinds = {kind for kind in node.kinds if kind is not type(None)}
        best = max(kinds, key=lambda kind: node.kinds[kind], default=dict)
        rest = node.seen - node.kinds.get(best, 0)
        if str in kinds and len(kinds) == 2 and set(node.forms) <= {("absent",), ("blank",)}:
            made.odd = node.kinds[str]
            return kinds - {str}
        if self._text or best is str or best is int or best is float or not 0 < rest <= _ODD * node.seen:
            return kinds
        if best is bool and set(node.forms) == {("boolean",)}:
            return {bool}
        if node.seen < _MANY:
            return kinds
        made.odd = rest
        made.notes.append(f"{rest} of {node.seen} are of another kind")
        made.counter_examples = node.examples[:]
        return {best}

    # --- structures -----------------------------------------------------------------------------------

    def _object(self, made: Field, node: Node) -> None:
        why = _why_map(made.name, node)
        fields = None if why else self.fields(node, made.path)
        if fields:
            made.type, made.fields = "object", fields
        elif why:
            made.notes.append(why)
        elif node.fields and fields is None:
            made.notes.append("has keys that are no columns beside each other")

    def _array(self, made: Field, node: Node) -> None:
        made.type = "array"
        element = node.element
        if element is None or not element.seen:
            made.element = Field(name="element", path=f"{made.path}[]", type="json")
            made.notes.append("always empty")
            return
        made.element = self.field(made.name, f"{made.path}[]", element, element.seen)
        made.element.attributes.pop("isEventTime", None)

    def _scannable(self, made: Field, node: Node) -> None:
        found = set(node.loose)
        todo = [node]
        for one in todo:
            todo += [*one.fields.values(), *(inner for inner in (one.element, one.embedded) if inner is not None)]
            found.update(one.loose, *one.forms)
        if indicators := [name for name in _SCANNED if name in found]:
            made.attributes["indicators"] = indicators

    # --- scalars --------------------------------------------------------------------------------------

    def _scalar(self, made: Field, node: Node, kinds: set[type]) -> None:
        forms = dict(node.forms)
        blank, absent = forms.pop(("blank",), 0), forms.pop(("absent",), 0)
        if str in kinds and not forms and len(kinds) > 1:
            kinds = kinds - {str}
        if self._are_digits(made, node, kinds, forms):
            kinds = kinds - {str}
        if kinds == {bool}:
            made.type = "boolean"
        elif kinds <= {int, float}:
            self._number(made, node, kinds)
        elif kinds == {str}:
            self._texts(made, node, forms)
        else:
            made.type = "string"
            made.notes.append(f"sometimes {' and sometimes '.join(sorted(map(_kind_name, kinds)))}")
            made.confidence = 0.7
        if made.type not in ("string", "json") and (blank or absent):
            made.absent = sorted(value for value in {*node.values, *node.examples} if FORMS[value] == ("absent",))
            made.notes.append("some texts stand for nothing")
        if made.type == "string":
            self._indicators(made, node, forms)
            if "indicators" not in made.attributes:  # whose values name people and machines
                self._enum(made, node)

    def _are_digits(self, made: Field, node: Node, kinds: set[type], forms: dict[Forms, int]) -> bool:
        """Whether the texts beside numbers are numbers, too, which some producers quote now and then."""
        beside = str in kinds and len(kinds) > 1 and kinds <= {int, float, str}
        return beside and not node.zeros and not names.is_identifier(made.name) and all(
            shape[0] in ("int", "float") for shape in forms
        )  # fmt: skip

    def _number(self, made: Field, node: Node, kinds: set[type]) -> None:
        units = [unit for unit in epochs(node.low) if unit in epochs(node.high)]
        if node.huge or (kinds == {int} and names.must_be_text(made.name)):
            made.type = "string"
            made.notes.append("beyond 64 bits" if node.huge else "numbers that identify keep their spelling")
        elif units and names.is_time(made.name) and (kinds == {int} or units[0] == "unix"):
            made.type, made.attributes["timeFormats"] = "timestamp", units[:1]
        else:
            made.type = "float" if float in kinds else "bigint"
            if units and units[0] != "unix" and not names.is_identifier(made.name):
                made.notes.append(f"could be a time: {units[0]}")
                made.confidence = 0.7

    def _texts(self, made: Field, node: Node, forms: dict[Forms, int]) -> None:
        made.type = "string"
        total = sum(forms.values())
        if not total:
            made.notes.append("always empty")
            return
        for shape, count in forms.items():
            made.evidence[shape[0]] = made.evidence.get(shape[0], 0) + count
        if all("json" in shape for shape in forms):
            self._embedded(made, node)
            return
        times = {shape: count for shape, count in forms.items() if TIME_FORMS.intersection(shape)}
        timed = sum(times.values())
        is_one = timed == total or (not self._text and total >= _MANY and timed >= (1 - _ODD) * total)
        if timed < total and timed > _MOST * total:
            keeps = "the others are set aside" if is_one else "the others keep it from being one"
            made.notes.append(f"{timed} of {total} are times; {keeps}")
            made.confidence = 0.6
            texts = (*node.examples, *node.values)
            made.counter_examples = [text for text in texts if not TIME_FORMS.intersection(FORMS[text])][:3]
        if is_one and (formats := _time_formats(made.name, times)):
            made.type, made.attributes["timeFormats"] = "timestamp", formats
            made.odd = total - timed
            self._ambiguous(made, times)
            return
        if self._counts(made.name, node, forms):
            made.type = "float" if any(shape[0] == "float" for shape in forms) else "bigint"
        elif self._text and all(shape[0] == "boolean" for shape in forms):
            made.type = "boolean"

    def _counts(self, name: str, node: Node, forms: dict[Forms, int]) -> bool:
        """Whether texts of digits are numbers. What may identify something stays text."""
        if node.zeros or not all(shape[0] in ("int", "float") for shape in forms):
            return False
        if names.is_quantity(name):
            return True
        varied = node.shortest != node.longest or node.longest <= 3
        return self._text and varied and not names.is_identifier(name) and node.longest < 16

    def _embedded(self, made: Field, node: Node) -> None:
        made.type, made.attributes["isEmbeddedJSON"] = "json", True
        made.notes.append("JSON inside text")
        inner = node.embedded
        if inner is None or set(inner.kinds) != {dict} or _why_map(made.name, inner):
            return
        if fields := self.fields(inner, made.path):
            made.type, made.fields = "object", fields

    def _ambiguous(self, made: Field, forms: dict[Forms, int]) -> None:
        """Months and days that could change places."""
        if all("%m/%d/%Y" in " ".join(shape) and "%d/%m/%Y" in " ".join(shape) for shape in forms):
            made.notes.append("month and day could change places")
            made.confidence = 0.5

    def _indicators(self, made: Field, node: Node, forms: dict[Forms, int]) -> None:
        total = sum(forms.values())
        share = {name: sum(count for shape, count in forms.items() if name in shape) / max(total, 1)
                 for name in (*_PROVEN, "domain", "net_addr", "aws_account_id", "int", "digits")}  # fmt: skip
        found = [name for name in _PROVEN if share[name] >= _MOST]
        if found == ["url"] and (names.is_own_link(made.name) or _is_one_host(node)):
            made.notes.append("links at one host: no indicator")
            return
        if found == ["email"] and names.indicator(made.name, made.parent) == "actor_id":
            found.append("actor_id")
        words = names.words(made.name)
        if not found:
            found = self._by_name(made, words, share)
        if found:
            made.attributes["indicators"] = found

    def _by_name(self, made: Field, words: tuple[str, ...], share: dict[str, float]) -> list[str]:
        hosts = share["ip"] + share["domain"]
        if share["ip"] >= _SOME and (share["domain"] or "host" in words) and hosts >= _SOME:
            return ["hostname"]
        if ("ip" in words and share["ip"]) or (share["ip"] >= 0.5):
            return ["ip"]
        if share["aws_account_id"] >= _MOST and ({"account", "aws", "owner"} & set(words)):
            return ["aws_account_id"]
        for name in ("aws_arn", "email", "url"):
            if share[name] >= 0.5 or (name.removeprefix("aws_") in words and share[name] >= _SOME):
                return [name, "username"] if name == "email" and names.indicator(made.name) == "username" else [name]
        if share["net_addr"] >= _MOST:
            return ["net_addr"]
        suggested = names.indicator(made.name, made.parent)
        if suggested in {"hostname", "domain"}:
            return [suggested] if hosts >= _SOME or suggested == "hostname" else []
        if suggested:
            made.confidence = min(made.confidence, 0.8)
        return [suggested] if suggested else []

    def _enum(self, made: Field, node: Node) -> None:
        values = [value for value in node.values if value]
        if 1 <= len(values) <= _MOST_ENUM and node.looked >= 4 * len(values) and made.seen >= _FEW:
            if len(node.values) == 1:
                made.notes.append(f"always {values[0]}")
            else:
                made.notes.append(f"one of {', '.join(sorted(values))}")


def _is_one_host(node: Node) -> bool:
    """Whether all links lead to one host: to the service that wrote the log, and to nothing worth a search."""
    hosts = {urlsplit(text).netloc for text in node.values if "://" in text}
    return node.looked > 1 and len(hosts) == 1


def _kind_name(kind: type) -> str:
    return {str: "text", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}.get(
        kind, "null"
    )


def _why_map(name: str, node: Node) -> str:
    """Why an object's keys are no fields, or an empty text."""
    if node.collapsed:
        return "a map: too many different keys"
    keys = len(node.fields)
    if not keys:
        return "always empty"
    if names.is_map(name) and keys > 2 and node.objects >= 3 and _overlap(node) < 0.9:
        return "a map: keys of the user's own"
    odd = sum(any(char in "/:.@ " for char in key) or key.isdigit() or len(key) > 30 for key in node.fields)
    if keys >= 3 and odd > 0.5 * keys:
        return "a map: keys look like values"
    if node.objects >= _MAP_OBJECTS and keys >= _MAP_KEYS and _overlap(node) < _MAP_SHARE:
        return f"{keys} different keys, few of them at once"
    return ""


def _overlap(node: Node) -> float:
    """Mean share of all keys that an object has."""
    present = sum(sum(child.kinds.values()) for child in node.fields.values())
    return present / max(1, node.objects * len(node.fields))


def _time_formats(name: str, forms: dict[Forms, int]) -> list[str]:
    """Formats that together read every text; none when they do not, or when it may be a plain number."""
    left, chosen = dict(forms), list[str]()
    while left:
        votes: dict[str, int] = {}
        for shape, count in left.items():
            for form in shape:
                if form in TIME_FORMS:
                    votes[form] = votes.get(form, 0) + count
        if not votes or len(chosen) == 4:
            return []
        best = max(votes, key=lambda form: votes[form])
        if best in EPOCHS and not names.is_time(name):
            return []
        chosen.append(best)
        left = {shape: count for shape, count in left.items() if best not in shape}
    return chosen


def choose_event_time(fields: list[Field]) -> Field | None:
    """Mark the likeliest event time: by name, presence and depth. Those inside arrays are not asked."""
    found: list[tuple[float, int, Field]] = []

    def collect(level: list[Field], depth: int) -> None:
        for field in level:
            if field.type == "timestamp":
                share = field.seen / max(1, field.of)
                rank = names.event_time_rank(field.name) + 20 * depth + 100 * (1 - share)
                if all(form in ("%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y") for form in field.attributes["timeFormats"]):
                    rank += 15  # a day is no moment
                found.append((rank, len(found), field))
            elif field.type == "object":
                collect(field.fields, depth + 1)

    collect(fields, 0)
    if not found:
        return None
    found.sort(key=lambda entry: entry[:2])
    best = found[0][2]
    best.attributes["isEventTime"] = True
    if found[0][0] >= 30 or (len(found) > 1 and found[1][0] - found[0][0] < 1):
        best.confidence = min(best.confidence, 0.6)
        best.notes.append("taken for the event time without being named so")
    return best


_COMMON: Final = names.word_set(
    "id uuid name type time timestamp ts date message msg version user username action event status level "
    "severity source host hostname description data details ip kind"
)
_MOST_REQUIRED = 3
_CERTAIN = 0.75


def choose_required(fields: list[Field], records: int) -> None:
    """Mark few fields that every record has and few other log types do; none on little evidence."""
    if records < _FEW:
        return
    certain = [field for field in fields if field.confidence >= _CERTAIN and not field.absent and not field.has_odd]
    always = [field for field in certain if field.seen == records and field.type != "json"]
    telling = [field for field in always if field.name.lower() not in _COMMON]
    for field in sorted(telling, key=lambda field: -len(names.words(field.name)))[:_MOST_REQUIRED]:
        if field.evidence.get("text", 0) == 0 or len(names.words(field.name)) > 1:
            field.attributes["required"] = True
