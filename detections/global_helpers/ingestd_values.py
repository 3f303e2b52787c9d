"""Values of any shape, as hostile as a log can make them, in the shape that a rule needs."""

import json
from collections.abc import Mapping, Sequence


def listed(value):
    """A list as it is, nothing as the empty list, anything else as a list of it alone."""
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    return [value]


def mappings(value):
    """The mappings in a list of anything; of one mapping, itself."""
    return [item for item in listed(value) if isinstance(item, Mapping)]


def texts(value):
    """The texts in a list of anything; of one text, itself."""
    return [item for item in listed(value) if isinstance(item, str)]


def document(value):
    """A mapping, also one that is written as JSON text; empty when it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def number(value):
    """A number, also one that is written as text; None when it is neither."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def named(value):
    """A text to show: `<unknown>` for nothing, and for what is not the name of anything."""
    return str(value) if isinstance(value, (str, int, float)) and value != "" else "<unknown>"


def last(path):
    """The last part of a path, which is its name: `projects/p/keys/k` is `k`."""
    return named(path).rstrip("/").rpartition("/")[2]
