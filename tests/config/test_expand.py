"""Environment variables in scalars."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.config.expand import expand

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "TRICKY": "${NAME}: [a, b]\n- c"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a/${NAME}/${NAME}", "a/value/value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NAME:-default}", "value"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${UNSET:-}", ""),
        ("${NAME:?why}", "value"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$1 and $NAME and cost$", "$1 and $NAME and cost$"),
        ("${TRICKY}", "${NAME}: [a, b]\n- c"),
    ],
)
def test_forms(text: str, expanded: str) -> None:
    """Each form gives what a shell would; only braces count, and a value is never looked at again."""
    assert expand(text, ENVIRONMENT) == expanded


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${UNSET}", "UNSET is not set"),
        ("${UNSET:?from terraform}", "UNSET is not set: from terraform"),
        ("${EMPTY:?needed}", "EMPTY is not set: needed"),
        ("${UNSET:?}", "it is required"),
        ("${", "without a closing brace"),
        ("${NAME", "without a closing brace"),
        ("${}", "is not ${VAR}"),
        ("${1A}", "write $$"),
        ("${NAME-x}", "is not ${VAR}"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    """What cannot be expanded is an error that says what to set or write."""
    with pytest.raises(ValueError, match=re.escape(says)):
        expand(text, ENVIRONMENT)


@given(st.text().filter(lambda text: "$" not in text))
def test_text_without_a_dollar_is_left_alone(text: str) -> None:
    """Expansion touches nothing but dollars."""
    assert expand(text, {}) == text


@given(st.text())
def test_doubling_dollars_escapes_any_text(text: str) -> None:
    """Any text can be written, by doubling its dollars."""
    assert expand(text.replace("$", "$$"), {}) == text
