"""As whom Google Cloud is talked to: a key, a workload identity, another account; and secrets from Secret Manager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth import iam
from google.oauth2.service_account import Credentials

from ingestd.cloud import gcp, gcp_secrets
from ingestd.cloud.gcp import Account, Clients
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError, Retryable
from tests.gcp import identity
from tests.gcp.identity import READER, Identity


@pytest.fixture
def google() -> Iterator[Identity]:
    """The services that sign in."""
    with identity.running() as made:
        gcp_secrets._session.cache_clear()
        yield made
        gcp_secrets._session.cache_clear()


@pytest.fixture
def as_everywhere(google: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says who we are, as for every Google tool."""
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(google.service_account()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setattr(gcp_secrets, "ADDRESS", google.url)
    # the SDK asks Google, beside everything else, in which regions the account may be used
    monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda credentials: False)


async def _token(account: Account) -> str:
    clients = Clients(account)
    try:
        return await clients.token()
    finally:
        await clients.close()


@pytest.mark.usefixtures("as_everywhere")
async def test_the_environment_says_who_we_are() -> None:
    """Application Default Credentials."""
    assert await _token(Account()) == "of-the-key"


async def test_a_key_of_a_service_account(google: Identity) -> None:
    """Its text is a secret of the configuration."""
    text = json.dumps(google.service_account())
    clients = Clients(Account(credentials=lambda: text))
    assert await clients.headers() == {"Authorization": "Bearer of-the-key"}
    assert await clients.token() == "of-the-key"
    assert len(google.seen) == 1  # the token is kept
    await clients.close()


async def test_a_workload_identity_federation(google: Identity, tmp_path: Path) -> None:
    """The cluster's token is exchanged, and then a service account's is asked for."""
    file = tmp_path / "token"
    file.write_text("of-the-pod")
    text = json.dumps(google.federation(str(file)))
    assert await _token(Account(credentials=lambda: text)) == f"as-{READER}"
    (exchange, impersonation) = google.seen
    assert exchange[2]["subject_token"] == "of-the-pod"
    assert impersonation[1] == "Bearer for-of-the-pod"


async def test_a_workload_whose_token_is_not_there_yet_is_tried_again(google: Identity, tmp_path: Path) -> None:
    """A pod's token may be mounted late."""
    text = json.dumps(google.federation(str(tmp_path / "none")))
    with pytest.raises(Retryable, match="does not give us a token"):
        await _token(Account(credentials=lambda: text))


async def test_another_service_account(google: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """`impersonate` asks for its token with ours."""
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", google.url + identity.IMPERSONATION)
    text = json.dumps(google.service_account())
    assert await _token(Account(credentials=lambda: text, impersonate=READER)) == f"as-{READER}"
    assert google.seen[-1][1] == "Bearer of-the-key"


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"type": "service_account", "private_key": "hush"}', '{"type": "authorized_user"}'],
)
async def test_credentials_that_are_none_are_not_quoted(text: str) -> None:
    """The configuration has to be mended."""
    with pytest.raises(ConfigError, match="not the JSON text") as caught:
        await _token(Account(credentials=lambda: text))
    assert "hush" not in str(caught.value)


async def test_a_token_service_that_does_not_answer_is_asked_again_later(google: Identity) -> None:
    """It may pass."""
    key = google.service_account() | {"token_uri": f"{google.url}/nothing-here"}
    with pytest.raises(Retryable, match="does not give us a token") as caught:
        await _token(Account(credentials=lambda: json.dumps(key)))
    assert caught.value.retry_after == gcp.REFUSED_RETRY_SECS


async def test_rotated_credentials_are_read_when_we_are_refused(google: Identity) -> None:
    """No restart is needed, and they are not read at each refusal."""
    now, reads = 1000.0, []
    texts = [json.dumps(google.service_account()) for _ in range(2)]

    def credentials() -> str:
        reads.append(1)
        return texts[min(len(reads), 2) - 1]

    clients = Clients(Account(credentials=credentials), clock=lambda: now)
    await clients.token()
    before = clients._credentials
    await clients.refused()
    await clients.refused()
    assert len(reads) == 2
    await clients.token()
    assert clients._credentials is not before
    await clients.close()


# --- Secret Manager -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_everywhere")
def test_a_secret_is_read_by_its_name(google: Identity) -> None:
    """The latest version, a given one, a key of a JSON object."""
    google.secrets = {
        "/projects/p/secrets/s/versions/latest:access": b'{"key": "hush"}',
        "/projects/p/secrets/s/versions/3:access": b"third",
    }
    assert Secret("gcp_secret", "projects/p/secrets/s#key").resolve() == "hush"
    assert Secret("gcp_secret", "projects/p/secrets/s/versions/3").resolve() == "third"
    assert google.seen[-1][1] == "Bearer of-the-key"


@pytest.mark.usefixtures("as_everywhere")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projects/p/secrets/none", b"x"),
        ("projects/p/secrets/s#key", b"hush"),
        ("projects/p/secrets/s", b"\xffhush"),
        ("../secrets/s", b"hush"),
    ],
)
def test_a_secret_that_is_not_there_is_a_mistake(google: Identity, name: str, value: bytes) -> None:
    """Named, and never quoted."""
    google.secrets = {"/projects/p/secrets/s/versions/latest:access": value}
    with pytest.raises(ConfigError) as caught:
        Secret("gcp_secret", name).resolve()
    assert "hush" not in str(caught.value)


@pytest.mark.usefixtures("as_everywhere")
@pytest.mark.parametrize(("status", "text"), [(403, gcp_secrets.READER), (503, "answers 503")])
def test_a_secret_that_cannot_be_read_now_may_be_later(google: Identity, status: int, text: str) -> None:
    """A missing role is named."""
    google.status = status
    with pytest.raises(Retryable, match=text):
        Secret("gcp_secret", "projects/p/secrets/s").resolve()
