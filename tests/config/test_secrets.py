"""Secrets by reference."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ingestd import redact
from ingestd.config import secrets
from ingestd.config.base import BASE_FOLDER, Model
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError

VALUE = "s3cr3t-value-of-the-test"


class Holder(Model):
    """Something with a secret."""

    token: Secret
    """It."""


def held(reference: Any, base: Path | None = None) -> Secret:
    """The secret of a reference, as a configuration would hold it."""
    return Holder.model_validate({"token": reference}, context={BASE_FOLDER: base}).token


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`{env: NAME}` is read when it is resolved, not when the configuration is."""
    secret = held({"env": "TEST_TOKEN"})
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    assert secret.resolve() == VALUE


def test_from_a_file(tmp_path: Path) -> None:
    """`{file: PATH}` is relative to the root file's folder, without its last newline, and read anew each time."""
    (tmp_path / "token").write_text(VALUE + "\n")
    secret = held({"file": "token"}, tmp_path)
    assert secret.resolve() == VALUE
    (tmp_path / "token").write_text("rotated-value\n")
    assert secret.resolve() == "rotated-value"


def test_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`{credential: NAME}` is a file of the unit's credentials folder."""
    (tmp_path / "slack").write_text(VALUE)
    secret = held({"credential": "slack"})
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="LoadCredential="):
        secret.resolve()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret.resolve() == VALUE


@pytest.mark.parametrize("name", ["../etc/passwd", "..", "a/b"])
def test_a_credential_stays_in_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential's name is one file name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="plain file name"):
        held({"credential": name}).resolve()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not UTF-8")]
)
def test_what_cannot_be_resolved(content: bytes | None, says: str, tmp_path: Path) -> None:
    """A secret that is not there is an error with its place."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as error:
        held({"file": "token"}, tmp_path).resolve()
    assert str(tmp_path / "token") in str(error.value)


def test_an_endless_file_is_refused() -> None:
    """A path that never ends does not fill the memory."""
    with pytest.raises(ConfigError, match="larger than"):
        held({"file": "/dev/zero"}).resolve()


@pytest.mark.parametrize(
    "written", [VALUE, 5, None, [VALUE], {}, {"env": "A", "file": "B"}, {"vault": "x"}, {"env": 5}, {"env": ""}]
)
def test_only_references_are_taken(written: Any) -> None:
    """A secret written out, or a reference that is none, is refused with a hint and without quoting it."""
    with pytest.raises(ValidationError) as error:
        held(written)
    assert "{env: …}" in str(error.value)
    assert VALUE not in str(error.value)


def test_it_shows_its_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a secret is printed, dumped or pickled, the value is not in it, resolved or not."""
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    holder = Holder.model_validate({"token": {"env": "TEST_TOKEN"}})
    holder.token.resolve()
    for shown in (repr(holder), str(holder.token), holder.model_dump_json(), str(holder.model_dump())):
        assert VALUE not in shown
        assert "TEST_TOKEN" in shown
    assert VALUE.encode() not in pickle.dumps(holder.token)
    assert held(holder.model_dump(mode="json")["token"]) == holder.token


def test_a_resolved_value_is_redacted_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a secret was resolved, redaction knows its value in any text."""
    monkeypatch.setenv("TEST_TOKEN", "another-value-nobody-knows")
    held({"env": "TEST_TOKEN"}).resolve()
    assert redact.text("it is another-value-nobody-knows!") == f"it is {redact.HIDDEN}!"


def test_a_manager_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret manager is added by one row of the table, and its references are taken from then on."""
    monkeypatch.setitem(secrets.RESOLVERS, "vault", lambda name: f"value of {name}")
    assert held({"vault": "a"}).resolve() == "value of a"
    assert "vault" in str(Holder.model_json_schema())
