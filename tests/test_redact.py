"""Taking secrets out of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd import redact
from ingestd.redact import HIDDEN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host/x", f"https://{HIDDEN}@host/x"),
        ("https://host/x?a=1&sig=abc%3D&b=2", f"https://host/x?a=1&sig={HIDDEN}&b=2"),
        ("GET /x?X-Amz-Signature=abc HTTP/1.1", f"GET /x?X-Amz-Signature={HIDDEN} HTTP/1.1"),
        ("Authorization: Bearer abcd3fgh.ijkl", f"Authorization: {HIDDEN}"),
        ("x;AccountKey=abc==;EndpointSuffix=y", f"x;AccountKey={HIDDEN};EndpointSuffix=y"),
        ("https://hooks.slack.com/services/T0/B0/xyz failed", f"https://hooks.slack.com/{HIDDEN} failed"),
    ],
)
def test_credentials_that_are_known_by_their_form(text: str, shown: str) -> None:
    """What is a credential wherever it stands is hidden, and its surroundings are not."""
    assert redact.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:iam::111122223333:role/x",
        "s3://bucket/key?x=1",
        "a@b.example",
        "2024-01-01T00:00:00Z",
        "Basic authentication failed",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """What only resembles a credential stays readable."""
    assert redact.text(text) == text


@pytest.mark.parametrize(
    "key", ["password", "DB_PASSWORD", "apiKey", "api_key", "token", "routing_token", "client_secret"]
)
def test_keys_that_name_a_secret(key: str) -> None:
    """A scalar under such a key is hidden; a mapping under it is looked into."""
    assert redact.tree({key: "x", "n": [{key: 5}]}) == {key: HIDDEN, "n": [{key: HIDDEN}]}
    assert redact.tree({key: {"env": "NAME"}}) == {key: {"env": "NAME"}}
    assert redact.tree({key: "x"}, keys=False) == {key: "x"}


def test_short_values_are_not_remembered() -> None:
    """A secret of a few letters would blot out ordinary words."""
    redact.remember("abc")
    assert redact.text("abcdef") == "abcdef"


def test_a_secret_that_begins_another() -> None:
    """The longer one is hidden whole."""
    redact.remember("beginning")
    redact.remember("beginning-and-end")
    assert redact.text("x beginning-and-end y beginning") == f"x {HIDDEN} y {HIDDEN}"


def test_memory_is_bounded() -> None:
    """However many secrets are resolved, the newest are known and the oldest make room."""
    for number in range(1_500):
        redact.remember(f"bounded-value-{number:04d}")
    assert redact.text("bounded-value-1499") == HIDDEN
    assert redact.text("bounded-value-0000") == "bounded-value-0000"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_can_be_redacted(value: object) -> None:
    """No value makes it raise, and redacting twice changes nothing more."""
    once = redact.tree(value)
    assert redact.tree(once) == once
