"""Lines of text: which parser cuts them. A draft schema of texts is enough to see what the fields hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import yaml

from ingestd.schemas.infer import names
from ingestd.schemas.infer.forms import FORMS
from ingestd.schemas.parsers import csvtext
from ingestd.schemas.registry import BUILTIN

_CEF = re.compile(r"(?:^|\s)CEF:\s?\d+\|")
_LEEF = re.compile(r"(?:^|\s)LEEF:[\d.]+\|")
_LEEF_DELIMITER = re.compile(r"LEEF:2[\d.]*\|(?:[^|]*\|){4}([^|=]{1,6})\|")
_SYSLOG5424 = re.compile(r"<\d{1,3}>\d{1,2} \S+ \S+ \S+ ")
_SYSLOG3164 = re.compile(r"(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:\[]+(?:\[[^\]]*\])?: ?")
_PAIR = re.compile(r'(?:^|\s)[A-Za-z_][\w.@-]*=(?:"[^"]*"|\S*)')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|\[[^\]]*\]|[^\s"\[]\S*|["\[]\S*')
_HEADER_CELL = re.compile(r"[A-Za-z_@#][\w .:@/()#-]{0,80}\Z")
_MOST = 0.9
_MOST_COLUMNS = 500
_MOST_LINES = 20
"""Of one row."""
_CLF: Final = ("remote_host", "ident", "user", "time", "request", "status", "bytes", "referer", "user_agent")
_LEEF_MATCH: Final = [
    r"^(?:(?P<header>[^|]*?)\s)?LEEF:(?P<version>[\d.]+)\|(?P<vendor>[^|]*)\|(?P<product>[^|]*)",
    r"\|(?P<product_version>[^|]*)\|(?P<event_id>[^|]*)\|(?:(?P<delimiter>[^|=]{0,6})\|)?(?P<text>.*)$",
]


class Draft(msgspec.Struct, kw_only=True):
    """How lines are cut, and the fields that come out."""

    what: str
    """For people: `csv with a header`."""
    parser: dict[str, Any]
    """The `parser:` section, as data."""
    fields: list[dict[str, Any]] = []
    """As in a schema; empty when a header line names them."""
    delimiter: str = ""
    """Set when rows may span lines: the delimiter of the csv framing."""
    fixed: frozenset[str] = frozenset()
    """Fields whose type is known from the format."""
    builtin: str = ""
    """The built-in log type that reads the same."""


def _strings(columns: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": name, "type": "string"} for name in columns if name]


def _from_builtin(name: str, what: str) -> Draft:
    """A format that ingestd knows: its own schema is the draft."""
    schema = yaml.safe_load((BUILTIN / f"{name}.yml").read_text("utf-8"))
    fields: list[dict[str, Any]] = schema["fields"]
    fixed = frozenset(field["name"] for field in fields if "keyValues" not in field)
    return Draft(what=what, parser=schema["parser"], fields=fields, fixed=fixed, builtin=name)


def _leef_delimiter(lines: Sequence[str]) -> str:
    """What stands between attributes: a tab, unless version 2 names another character, perhaps by its number."""
    named = [match[1] for line in lines if (match := _LEEF_DELIMITER.search(line)) is not None]
    given = max(set(named), key=named.count, default="")
    number = re.fullmatch(r"(?:0?x)([0-9A-Fa-f]{2,4})", given)
    return chr(int(number[1], 16)) if number is not None else given or "\t"


def _key_values(what: str, match: list[str], columns: Sequence[str], inner: str, separator: str = "") -> Draft:
    options = {"from": "text", **({"separator": separator} if separator else {})}
    fields: list[dict[str, Any]] = [*_strings(columns), {"name": inner, "type": "json", "keyValues": options}]
    return Draft(what=what, parser={"regex": {"match": match}}, fields=fields, fixed=frozenset({"text"}))


def detect(lines: Sequence[str]) -> Draft:
    """The parser for lines that are no JSON; in the worst case one that takes each line whole."""
    lines = [line for line in lines if line.strip()][:500] or [""]

    def most(pattern: re.Pattern[str], *, start: bool = False) -> bool:
        find = pattern.match if start else pattern.search
        return sum(find(line) is not None for line in lines) >= _MOST * len(lines)

    if most(_CEF):
        return _from_builtin("CEF.Event", "CEF")
    if most(_LEEF):
        columns = ("header", "version", "vendor", "product", "product_version", "event_id", "delimiter", "text")
        return _key_values("LEEF", _LEEF_MATCH, columns, "attributes", _leef_delimiter(lines))
    if most(_SYSLOG5424, start=True):
        return _from_builtin("Syslog.RFC5424", "syslog (RFC 5424)")
    if most(_SYSLOG3164, start=True):
        return _from_builtin("Syslog.RFC3164", "syslog (RFC 3164)")
    return _fields_line(lines) or _delimited(lines) or _pairs(lines) or _tokens(lines) or _whole()


def _whole() -> Draft:
    return Draft(what="plain lines", parser={"regex": {"match": ["^(?P<message>.*)$"]}}, fields=_strings(["message"]))


def _pairs(lines: Sequence[str]) -> Draft | None:
    good = sum(len(_PAIR.findall(line)) >= 2 and _covered(line) for line in lines)
    if good < _MOST * len(lines):
        return None
    return _key_values("key=value", ["^(?P<text>.*)$"], ("text",), "fields")


def _covered(line: str) -> bool:
    """Whether pairs make up most of the line: prose may hold a few."""
    return sum(len(pair[0]) for pair in _PAIR.finditer(line)) >= 0.5 * len(line)


def _fields_line(lines: Sequence[str]) -> Draft | None:
    """The extended format of W3C, whose comments name the columns."""
    line = next((line for line in lines if line.startswith("#Fields:")), None)
    if line is None:
        return None
    columns = _distinct(line.removeprefix("#Fields:").split())
    options = {"delimiter": " ", "columns": columns, "skipPrefix": "#", "emptyValues": ["-"]}
    return Draft(what="W3C extended", parser={"csv": options}, fields=_strings(columns), delimiter=" ")


def _rejoined(lines: Sequence[str]) -> list[str]:
    """Rows: lines whose quotes are open go on in the next ones."""
    rows: list[str] = []
    held: list[str] = []
    for line in lines:
        held.append(line)
        if sum(piece.count('"') for piece in held) % 2 == 0 or len(held) > _MOST_LINES:
            rows.append("\n".join(held))
            held = []
    return rows or list(lines)


def _delimited(lines: Sequence[str]) -> Draft | None:
    lines = _rejoined(lines)
    best: tuple[int, str] | None = None
    for delimiter in (",", "\t", ";", "|"):
        widths = Counter(len(csvtext.cells_of(line, delimiter)) for line in lines)
        width, count = widths.most_common(1)[0]
        if 1 < width <= _MOST_COLUMNS and count >= _MOST * len(lines) and (best is None or width > best[0]):
            best = width, delimiter
    if best is None or (len(lines) < 2 and best[0] < 3):
        return None
    width, delimiter = best
    rows = [csvtext.cells_of(line, delimiter) for line in lines]
    if _prose(rows):
        return None
    return _csv([row for row in rows if len(row) == width], delimiter)


def _prose(rows: Sequence[Sequence[str]]) -> bool:
    """Sentences and pairs have commas, too."""
    if all(len(row) == 2 and row[1].startswith(" ") for row in rows):
        return True
    cells = [cell for row in rows for cell in row]
    return sum("=" in cell or (cell.startswith(" ") and len(cell) > 30) for cell in cells) > 0.5 * len(cells)


def _csv(rows: Sequence[Sequence[str]], delimiter: str) -> Draft:
    what = {",": "csv", "\t": "tsv", " ": "space-separated"}.get(delimiter, f"csv with {delimiter}")
    options: dict[str, Any] = {"delimiter": delimiter}
    if _is_header(rows):
        header = [cell.strip() for cell in rows[0]]
        columns = _distinct(header)
        options["hasHeader"] = True
        if columns != header:
            options["columns"] = columns
        return Draft(
            what=f"{what} with a header", parser={"csv": options}, fields=_strings(columns), delimiter=delimiter
        )
    columns = [f"c{number}" for number in range(1, len(rows[0]) + 1)]
    options["columns"] = columns
    return Draft(
        what=f"{what} without a header", parser={"csv": options}, fields=_strings(columns), delimiter=delimiter
    )


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    first = [cell.strip() for cell in rows[0]]
    if not all(_HEADER_CELL.match(cell) and FORMS[cell][0] in ("text", "domain") for cell in first):
        return False
    if len(set(first)) < len(first):
        return False
    if len(rows) == 1:
        return True
    typed = sum(any(FORMS[row[at].strip()][0] not in ("text", "domain", "absent", "blank") for row in rows[1:])
                for at in range(len(first)))  # fmt: skip
    known = sum(bool(names.indicator(cell)) or names.is_time(cell) or names.is_quantity(cell) for cell in first)
    again = sum(any(row[at].strip() == cell for row in rows[1:]) for at, cell in enumerate(first))
    return not again and bool(typed or known)


def _distinct(header: Sequence[str]) -> list[str]:
    """Names for columns: no two the same, none empty, none reserved."""
    found: dict[str, None] = {}
    folded: set[str] = set()
    for number, cell in enumerate(header, start=1):
        name = cell if cell and not cell.lower().startswith("p_") else f"c{number}"
        if name.lower() in folded:
            name = f"{name}_{number}"
        folded.add(name.lower())
        found[name] = None
    return list(found)


def _tokens(lines: Sequence[str]) -> Draft | None:
    rows = [_TOKEN.findall(line) for line in lines]
    width, count = Counter(map(len, rows)).most_common(1)[0]
    if width < 3 or width > _MOST_COLUMNS or count < _MOST * len(lines) or (len(lines) < 3 and width < 6):
        return None
    rows = [row for row in rows if len(row) == width]
    shapes = [Counter(_wrapping(row[at]) for row in rows).most_common(1)[0][0] for at in range(width)]
    if all(shape == "%" for shape in shapes):
        return _csv(rows, " ")
    common = "".join(shape[0] for shape in shapes)
    columns = list(_CLF[:width]) if common in ('%%%["%%', '%%%["%%""') else [f"c{at + 1}" for at in range(width)]
    pattern = " ".join(shape.replace("%", f"%{{{name}}}") for shape, name in zip(shapes, columns, strict=True))
    options = {"match": [pattern], "emptyValues": ["-"]}
    return Draft(what="space-separated", parser={"fastmatch": options}, fields=_strings(columns))


def _wrapping(token: str) -> str:
    return '"%"' if token[0] == '"' else "[%]" if token[0] == "[" else "%"
