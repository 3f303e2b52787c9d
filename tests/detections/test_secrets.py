"""Secrets for rules, seen from a rule: the door, boto3's client, and how values are kept out of texts."""

from __future__ import annotations

import base64
import importlib
import json
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

from ingestd.detections import hiding, secrets
from ingestd.detections.compat import boto3
from ingestd.detections.secrets import Answer, SecretError
from ingestd.rules import get_secret
from tests.detections.conftest import Fork

NAME = "panther-analysis/key"
VALUE = "k3y-0123456789"


class Parent:
    """Answers by name, and counts how often it was asked."""

    def __init__(self, **values: str) -> None:
        self.values = {f"panther-analysis/{name}": value for name, value in values.items()}
        self.asked: list[str] = []

    def __call__(self, name: str, /) -> Answer:
        self.asked.append(name)
        if name in self.values:
            return Answer(value=self.values[name], keep_secs=10)
        return Answer(refused="not_found", message=f"no {name}", keep_secs=10)


@pytest.fixture(autouse=True)
def parent() -> Iterator[Parent]:
    """The door is open; in the end it is closed and everything forgotten."""
    parent = Parent(key=VALUE)
    secrets.connect(parent)
    yield parent
    secrets.connect(None)
    hiding.forget_all()


def test_a_secret_is_asked_for_once_while_it_may_be_kept(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule may ask for each event; a refusal is kept like a value; after its time either is asked for again."""
    now = 0.0
    monkeypatch.setattr(secrets, "_clock", lambda: now)
    for _ in range(3):
        assert get_secret(NAME) == VALUE
        with pytest.raises(SecretError, match="no panther-analysis/other"):
            get_secret("panther-analysis/other")
    assert len(parent.asked) == 2
    parent.values[NAME] = "rotated-0123"
    now = 10.0
    assert get_secret(NAME) == "rotated-0123"


@pytest.mark.parametrize("name", ["", None, 7, b"panther-analysis/key"])
def test_what_is_no_name_is_refused(parent: Parent, name: Any) -> None:
    """Nothing is asked for it."""
    with pytest.raises(SecretError, match="is text"):
        get_secret(name)
    assert parent.asked == []


def test_where_there_is_no_door_the_error_says_what_to_do() -> None:
    """At import of a rule, and in a test without a mock."""
    secrets.connect(None)
    with pytest.raises(SecretError, match="mock the function"):
        get_secret(NAME)


# --- boto3 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret_id", [NAME, f"arn:aws:secretsmanager:eu-central-1:111122223333:secret:{NAME}-AbC123"]
)
def test_boto3_reads_a_secret_by_name_and_by_arn(secret_id: str) -> None:
    """Through the module, a session, and a default session."""
    boto3.setup_default_session(region_name="eu-central-1")
    for client in (
        boto3.client("secretsmanager"),
        boto3.Session().client("secretsmanager", region_name="eu-central-1"),
        boto3.session.Session(profile_name="x").client(service_name="secretsmanager"),
    ):
        assert client.get_secret_value(SecretId=secret_id)["SecretString"] == VALUE


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"SecretId": "panther-analysis/other"}, "ResourceNotFoundException"),
        ({"SecretId": NAME, "VersionId": "1"}, "InvalidRequestException"),
        ({"SecretId": NAME, "VersionStage": "AWSPREVIOUS"}, "InvalidRequestException"),
        ({}, "InvalidRequestException"),
    ],
)
def test_boto3_raises_what_rules_catch(request_: dict[str, str], code: str) -> None:
    """botocore's ClientError with the code in its place."""
    client_error = importlib.import_module("botocore.exceptions").ClientError
    with pytest.raises(client_error) as raised:
        boto3.client("secretsmanager").get_secret_value(**request_)
    assert raised.value.response["Error"]["Code"] == code


def test_the_rest_of_boto3_is_the_installed_one() -> None:
    """Other services, resources, and modules below."""
    assert boto3.client("s3", region_name="eu-central-1").meta.region_name == "eu-central-1"
    assert boto3.resource("dynamodb", region_name="eu-central-1").Table("t").name == "t"
    assert boto3.Session(region_name="eu-north-1").region_name == "eu-north-1"


def test_modules_that_were_loaded_before_the_door_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has imported the package earlier has set its modules on the package, not here."""
    monkeypatch.setitem(sys.modules, "boto3.earlier", ModuleType("boto3.earlier"))
    assert boto3.earlier.__name__ == "boto3.earlier"
    with pytest.raises(AttributeError, match="nowhere"):
        _ = boto3.nowhere


def test_a_rule_that_imports_boto3_gets_the_door(fork: Fork) -> None:
    """By its plain name, whatever else is installed; a module that only wants its annotation stays cheap."""
    fork.rule(
        "Asks",
        """
        import boto3
        import boto3.session

        def table() -> boto3.resource:
            return None

        def rule(event):
            client = boto3.session.Session().client("secretsmanager")
            return client.get_secret_value(SecretId="panther-analysis/key")["SecretString"] == "k3y-0123456789"
        """,
    )
    engine = fork.engine()
    assert [match.kind for match in engine.evaluate({"p_log_type": "Test.Log"}, "Test.Log")] == ["rule"]


def test_without_botocore_rules_catch_our_client_error() -> None:
    """The stand-in says what the real one says."""
    ours = importlib.import_module("ingestd.detections.compat.botocore")
    real = importlib.import_module("botocore.exceptions")
    response = {"Error": {"Code": "ResourceNotFoundException", "Message": "gone"}}
    assert str(ours.ClientError(response, "GetSecretValue")) == str(real.ClientError(response, "GetSecretValue"))


# --- hiding -------------------------------------------------------------------------------------------------

AWKWARD = ["plain-secret", 'it\'s "quoted"', "back\\slash\\\\es", "line\none\ttab", "clé-é-😀", "a+b/c=d&e?f"]


def _spellings(value: str) -> Iterator[str]:
    yield value
    yield json.dumps({"k": [value]})
    yield json.dumps(json.dumps({value: 1}))
    yield json.dumps(value, ensure_ascii=False)
    yield repr([value])
    yield repr(ValueError(f"{value!r} and {[value]!r}"))
    yield repr(value.encode())
    yield quote(value)
    yield f"https://host/?key={quote(value, safe='')}"
    yield "Basic " + base64.b64encode(value.encode()).decode()


@pytest.mark.parametrize("value", AWKWARD)
def test_a_secret_is_hidden_however_it_is_spelled(value: str) -> None:
    """JSON, repr, both within each other, bytes, URLs, base64."""
    hiding.remember(value)
    for spelling in _spellings(value):
        hid = hiding.hide(f"before {spelling} after")
        assert hiding.HIDDEN in hid, spelling
        assert value not in hid
        assert hid.startswith("before ")
        assert hid.endswith(" after")


def test_parts_of_a_secret_are_secrets() -> None:
    """The values of a JSON document and the lines of a key; short words and key names are not."""
    hiding.remember(json.dumps({"user": "ana", "token": "tok-123456", "deep": [{"pin": 12345678, "on": True}]}))
    hiding.remember("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nshort\n-----END KEY-----\n")
    hid = hiding.hide("user ana token tok-123456 pin 12345678 line MIIEvQIBADANBgkqhkiG True")
    assert hid == "user ana token [secret] pin [secret] line [secret] True"


PADDED = [
    ("token-abc-1\n", ["token-abc-1"]),
    (" \ttoken-abc-1 \r\n\n", ["token-abc-1"]),
    ('{"user": "ana", "token": "token-abc-1\\n"}\n', ["token-abc-1"]),
    (
        json.dumps({"key": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nAnotherLineOfTheKey1\n", "pin": "pin-123 "}),
        ["MIIEvQIBADANBgkqhkiG", "AnotherLineOfTheKey1", "pin-123"],
    ),
]


@pytest.mark.parametrize(("value", "used"), PADDED)
def test_a_secret_is_hidden_as_a_rule_uses_it(value: str, used: list[str]) -> None:
    """Stripped of its last newline, and line by line, as a whole and as a value in a JSON document."""
    hiding.remember(value)
    for text in used:
        assert hiding.hide(f"with {text}, and {text.encode()!r}") == "with [secret], and b'[secret]'"


def test_the_longer_of_two_secrets_goes_first() -> None:
    """One may be the beginning of another."""
    hiding.remember("token-1")
    hiding.remember("token-1-and-more")
    assert hiding.hide("token-1-and-more, token-1") == "[secret], [secret]"


def test_a_long_secret_is_hidden_without_taking_long() -> None:
    """A key of 64 KiB, in all of Unicode, as it is and as JSON; a pattern of that size would take seconds."""
    value = "".join(chr(0x400 + n % 5_000) for n in range(32_768)) + "\n'\""
    started = time.process_time()
    hiding.remember(value)
    assert hiding.hide(f"{value} {json.dumps(value)} {value!r}").count(hiding.HIDDEN) == 3
    assert time.process_time() - started < 0.5


def test_what_is_hidden_is_bounded() -> None:
    """A document of a hundred thousand values does not make each match a search for them all."""
    hiding.remember(json.dumps([f"value-{n}" for n in range(100_000)]))
    assert len(hiding.hidden) < 5_000
    for document in range(20):
        hiding.remember(json.dumps([f"secret-{document}-{n:03}" for n in range(500)]))
    assert len(hiding.hidden) <= 10_000
    assert hiding.hide("secret-19-400") == hiding.HIDDEN


def test_nothing_that_a_rule_returns_or_raises_has_the_secret(fork: Fork) -> None:
    """Every text of a match and of an error, cut ones included: a cut does not leave half of it."""
    functions = "".join(
        f"def {name}(event):\n    return 'x' * 980 + get_secret('panther-analysis/key')\n"
        for name in ("title", "description", "reference", "runbook", "dedup", "unique")
    )
    code = (
        "from ingestd.rules import get_secret\n"
        "class Odd(Exception):\n    pass\n"
        "def rule(event):\n    if event['name'] == 'login':\n        return True\n"
        "    error = type(get_secret('panther-analysis/key'), (Exception,), {})\n"
        "    try:\n        raise Odd(get_secret('panther-analysis/key'))\n"
        "    except Odd as cause:\n        raise error(get_secret('panther-analysis/key')) from cause\n"
        "def destinations(event):\n    return [get_secret('panther-analysis/key')]\n"
        "def alert_context(event):\n    key = get_secret('panther-analysis/key')\n    return {key: [key]}\n"
    )
    fork.rule("Leaks", code + functions)
    engine = fork.engine()
    for name in ("login", "raises"):
        found = engine.evaluate({"p_log_type": "Test.Log", "name": name, "p_row_id": "r"}, "Test.Log")
        shown = repr(found)
        assert len(found) == 1
        assert hiding.HIDDEN in shown
        assert VALUE[:6] not in shown
