"""Secrets by reference to AWS: the value is read when it is needed, and never shown."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ingestd.cloud import aws_secrets
from ingestd.config.models import RuleSecretsConfig
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError, Retryable
from ingestd.rule_calls import RuleSecrets
from tests.aws.servers import REGION, Aws


@pytest.fixture
def server(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The server that the SDK finds by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    aws_secrets._client.cache_clear()
    yield aws
    aws_secrets._client.cache_clear()


def test_a_secret_by_name_and_by_arn(server: Aws) -> None:
    """Whole, as text."""
    made = server.client("secretsmanager").create_secret(Name="ingestd/slack", SecretString="https://hooks.example/x")
    assert Secret("aws_secret", "ingestd/slack").resolve() == "https://hooks.example/x"
    assert Secret("aws_secret", made["ARN"]).resolve() == "https://hooks.example/x"


def test_one_value_of_a_secret_that_is_json(server: Aws) -> None:
    """`#key` takes it out; a key that is not there is told without the value."""
    text = json.dumps({"token": "t0ps3cret", "user": "ada"})
    server.client("secretsmanager").create_secret(Name="ingestd/pair", SecretString=text)
    assert Secret("aws_secret", "ingestd/pair#token").resolve() == "t0ps3cret"
    with pytest.raises(ConfigError, match="'tokn'") as caught:
        Secret("aws_secret", "ingestd/pair#tokn").resolve()
    assert "t0ps3cret" not in str(caught.value)


def test_a_rotated_secret_is_read_anew(server: Aws) -> None:
    """Nothing is kept."""
    manager = server.client("secretsmanager")
    manager.create_secret(Name="ingestd/rotated", SecretString="before")
    secret = Secret("aws_secret", "ingestd/rotated")
    assert secret.resolve() == "before"
    manager.put_secret_value(SecretId="ingestd/rotated", SecretString="after")
    assert secret.resolve() == "after"


async def test_a_rule_gets_what_lies_under_the_granted_prefix(server: Aws) -> None:
    """By the name that it has in Secrets Manager; what is not there, and what is not granted, is refused."""
    manager = server.client("secretsmanager")
    manager.create_secret(Name="panther-analysis/key", SecretString="the-key-of-rules")
    manager.create_secret(Name="payroll/key", SecretString="the-key-of-others")
    secrets = RuleSecrets(RuleSecretsConfig(manager="aws"))
    assert (await secrets.get("R", "panther-analysis/key")).value == "the-key-of-rules"
    assert (await secrets.get("R", "panther-analysis/absent")).refused == "not_found"
    assert (await secrets.get("R", "payroll/key")).refused == "not_granted"


def test_a_parameter_is_decrypted(server: Aws) -> None:
    """SecureString and String alike."""
    server.client("ssm").put_parameter(Name="/ingestd/token", Value="tok", Type="SecureString", Overwrite=True)
    assert Secret("aws_parameter", "/ingestd/token").resolve() == "tok"


@pytest.mark.parametrize("kind", ["aws_secret", "aws_parameter"])
def test_what_is_not_there_is_a_mistake_of_the_configuration(server: Aws, kind: str) -> None:
    """The reader learns which."""
    with pytest.raises(ConfigError, match="/no/such"):
        Secret(kind, "/no/such").resolve()


def test_a_manager_that_cannot_be_reached_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is nobody's mistake."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    aws_secrets._client.cache_clear()
    with pytest.raises(Retryable):
        Secret("aws_secret", "ingestd/slack").resolve()
    aws_secrets._client.cache_clear()


def test_the_region_of_an_arn_is_its_own() -> None:
    """A secret may lie in another region than the daemon."""
    assert aws_secrets._region_in("arn:aws:secretsmanager:us-west-2:111122223333:secret:a-x1") == "us-west-2"
    assert aws_secrets._region_in("ingestd/slack") is None
