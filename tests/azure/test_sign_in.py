"""As whom Azure is talked to: a workload identity, a shared access signature; and secrets from a key vault."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError, ServiceRequestError
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from azure.storage.blob._shared.models import Services
from azure.storage.queue._shared.authentication import SharedKeyCredentialPolicy

from ingestd.cloud import azure_secrets
from ingestd.cloud.azure import Account, Clients, common_failure, credential_options
from ingestd.cloud.azure_sign import signed
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.model import ObjectRef
from ingestd.stores import azure_blob
from tests.azure import identity, servers
from tests.azure.identity import Entra
from tests.azure.proxy import Refuse, in_front_of
from tests.azure.servers import KEY, NAME, Azure
from tests.proofs import checker
from tests.proofs.hostile import record


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    return identity.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def entra(certified: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """A token service and vault, and an environment that leads there."""
    with identity.running(certified) as made:
        for name, value in identity.environment(made, certified, tmp_path).items():
            monkeypatch.setenv(name, value)
        azure_secrets._client.cache_clear()
        yield made
        azure_secrets._client.cache_clear()


# --- roles, signatures --------------------------------------------------------------------------------------


CONFIG = """
sources:
  entra:
    type: azure_queue
    account_url: {queues}
    blob_endpoints: {{{name}: "{blobs}"}}
    queue: {queue}
    routes: [{{log_types: [AWS.CloudTrail]}}]
lake: {{url: lake, rotate_secs: 1}}
state: {{path: state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
"""


def test_a_workload_identity_reads_queue_and_blob(certified: tuple[Path, Path], entra: Entra, tmp_path: Path) -> None:
    """A whole daemon by a role, over TLS: no secret of ours anywhere."""
    options = ("--oauth", "basic", "--cert", str(certified[0]), "--key", str(certified[1]))
    with servers.running(tmp_path, *options) as azure:
        container, queue = azure.container(), azure.queue()
        azure.put(container, "a.json", json.dumps(record("a")).encode())
        azure.announce(queue, container, "a.json")
        addresses = {"queues": azure.queue_url, "blobs": azure.blob_url, "queue": queue, "name": NAME}
        (tmp_path / "ingestd.yml").write_text(CONFIG.format(**addresses))
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert azure.left(queue) == 0
    assert checker.parquet_rows(tmp_path / "lake", "events", ["eventID"]) == [("a",)]
    assert set(entra.asked) == {"https://storage.azure.com/.default"}


def test_doctor_tells_what_the_token_service_says(entra: Entra, tmp_path: Path) -> None:
    """A federation that was not made is the usual mistake."""
    entra.federated = "another token"
    addresses = {"queues": f"{entra.url}/{NAME}", "blobs": f"{entra.url}/{NAME}", "queue": "logs", "name": NAME}
    (tmp_path / "ingestd.yml").write_text(CONFIG.format(**addresses))
    command = [sys.executable, "-m", "ingestd", "doctor", "-c", "ingestd.yml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert rows
    assert all("no Azure credentials" in row["detail"] and "AADSTS700211" in row["detail"] for row in rows)


async def test_the_environment_may_name_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is asked for every message, unless the environment makes an exception."""
    account = Account(account_url="http://logs.queue.test", sas_token=lambda: "sig=x")
    async with in_front_of("http://nowhere.test") as proxy:
        proxy.rule = lambda seen: Refuse(404, "QueueNotFound")
        monkeypatch.setenv("http_proxy", proxy.url)
        for exception in ("", "logs.queue.test"):
            monkeypatch.setenv("no_proxy", exception)
            clients = Clients(account)
            with pytest.raises(ServiceRequestError if exception else ResourceNotFoundError):
                await (await clients.queue("q")).get_queue_properties()
            await clients.close()
    assert [seen.path.partition("?")[0] for seen in proxy.seen] == ["http://logs.queue.test/q"]


async def test_a_shared_access_signature_reads_every_account_it_is_for(azure: Azure) -> None:
    """It never appears in errors."""
    container = azure.container()
    azure.put(container, "a.json", b"x")
    signature = generate_account_sas(
        NAME,
        KEY,
        resource_types=ResourceTypes(object=True, container=True),
        permission=AccountSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
        services=Services(blob=True),
    )
    account = Account(
        account_url=azure.queue_url, sas_token=lambda: f"?{signature}", blob_endpoints={NAME: azure.blob_url}
    )
    store = azure_blob.build(account)
    ref = ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")
    async with await store.open(ref) as opened:
        assert b"".join([piece async for piece in opened.chunks()]) == b"x"
    with pytest.raises(Permanent) as caught:
        await store.open(ObjectRef(store="az", bucket=NAME, key=f"{container}/b.json"))
    assert "sig=" not in str(caught.value)
    with pytest.raises(Permanent, match="is for another account"):
        await store.open(ObjectRef(store="az", bucket="evil", key=f"{container}/a.json"))
    assert [entry.ref.key async for entry in store.list_objects(NAME, f"{container}/")] == [f"{container}/a.json"]
    await store.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://logs.queue.core.windows.net", None),
        ("https://logs.queue.core.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ("https://logs.queue.core.chinacloudapi.cn", "https://login.partner.microsoftonline.cn"),
    ],
)
def test_a_sovereign_cloud_has_its_own_sign_in(url: str, expected: str | None) -> None:
    """The address tells the cloud; `authority` overrides it."""
    assert credential_options(Account(account_url=url)).get("authority") == expected
    named = Account(account_url=url, authority="https://login.example", client_id="c", tenant_id="t")
    assert credential_options(named) == {
        "authority": "https://login.example",
        "managed_identity_client_id": "c",
        "workload_identity_client_id": "c",
        "workload_identity_tenant_id": "t",
    }


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "neither environment variables nor"),
        (("ManagedIdentityCredential: Identity not found",), "ManagedIdentityCredential: Identity not found"),
    ],
)
def test_only_ways_of_signing_in_that_were_there_are_told(lines: tuple[str, ...], said: str) -> None:
    """The SDK names every tool that is not installed, in a paragraph each."""
    absent = (
        "EnvironmentCredential: EnvironmentCredential authentication unavailable. Visit https://aka.ms/x",
        "AzureCliCredential: Azure CLI not found on path",
        "AzurePowerShellCredential: PowerShell is not installed",
        "AzureDeveloperCliCredential: Azure Developer CLI could not be found. Please visit https://aka.ms/y",
        "VisualStudioCodeCredential: VisualStudioCodeCredential requires the 'broker' package to be installed.",
    )
    story = "\n\t".join(("DefaultAzureCredential failed.\nAttempted credentials:", *absent, *lines))
    error = common_failure(ClientAuthenticationError(story), "queue logs")
    assert str(error).startswith(f"queue logs: there are no Azure credentials: {said}")
    assert "aka.ms" not in str(error)


@pytest.mark.parametrize(
    ("vault", "authority"),
    [
        ("https://a.vault.azure.net", None),
        ("https://a.vault.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ("https://a.vault.azure.cn/", "https://login.partner.microsoftonline.cn"),
    ],
)
def test_the_address_of_a_vault_tells_its_cloud(
    vault: str, authority: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cloud signs in at a place of its own."""
    asked: list[str | None] = []

    def credential(**options: str) -> StubToken:
        asked.append(options.get("authority"))
        return StubToken()

    monkeypatch.setattr("azure.identity.DefaultAzureCredential", credential)
    azure_secrets._client.__wrapped__(vault)
    assert asked == [authority]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "AccountName=logs", "AccountName=logs;SharedAccessKey=k", "AccountKey=secretvalue"]
)
async def test_a_connection_string_that_says_too_little_is_told_without_it(text: str) -> None:
    """Somebody pasted half of it, or that of another service."""
    store = azure_blob.build(Account(connection_string=lambda: text))
    with pytest.raises(ConfigError, match="connection string") as caught:
        await store.open(ObjectRef(store="az", bucket="logs", key="c/a"))
    assert "secretvalue" not in str(caught.value)
    await store.close()


class StubToken:
    """A token that lasts for ten seconds."""

    async def get_token(self, scope: str) -> AccessToken:
        """Given for whatever is asked."""
        return AccessToken(f"token for {scope}", int(time.time()) + 10)

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_fast_reader_signs_in_as_the_sdk_does(azure: Azure) -> None:
    """With the key, the signature or the token, and never longer than the token lasts."""
    for account, wanted in (
        (azure.account(), {"access_key": KEY}),
        (
            Account(account_url="https://logs.queue.core.windows.net", sas_token=lambda: "?sv=1"),
            {"sas_token": "sv=1"},
        ),
        (
            Account(account_url="https://logs.queue.core.windows.net"),
            {"token": "token for https://storage.azure.com/.default"},
        ),
    ):
        clients = Clients(account)
        clients._token = StubToken()
        found = await clients.credential_of_now()
        left = (found.pop("expires_at") - datetime.now(UTC)).total_seconds()
        assert found == wanted
        assert left < (11 if "token" in wanted else 61)


@pytest.mark.parametrize("query", [{}, {"popreceipt": "AgAAAAMA+/=&x y", "Timeout": "5"}])
def test_requests_are_signed_as_the_sdk_would(query: dict[str, str]) -> None:
    """With the account's key; a token or a shared access signature needs no signing."""
    now, path = datetime.now(UTC), f"/{NAME}/q/messages/7b1f-0a"
    headers, _ = signed("DELETE", NAME, path, query, {"access_key": KEY}, now)
    sent = {name: quote(value, safe="") for name, value in query.items()}
    request: Any = HttpRequest("DELETE", f"http://127.0.0.1{path}", params=sent, headers=dict(headers))
    policy: Any = SharedKeyCredentialPolicy
    policy(NAME, KEY).on_request(PipelineRequest(request, PipelineContext(None)))
    assert headers == dict(request.headers)
    assert signed("DELETE", NAME, path, query, {"token": "t"}, now)[0]["Authorization"] == "Bearer t"
    assert signed("DELETE", NAME, path, query, {"sas_token": "sig=a%2B"}, now)[1] == "sig=a%2B"


# --- secrets ------------------------------------------------------------------------------------------------


def resolved(entra: Entra, path: str) -> str:
    """The secret at this path of the vault."""
    return Secret("azure_secret", f"{entra.url}/secrets/{path}").resolve()


def test_a_secret_is_read_by_its_address(entra: Entra) -> None:
    """Whole, or one value of a JSON object; anew each time."""
    entra.secrets |= {"slack": "https://hooks.example/x", "pair": json.dumps({"token": "t0ps3cret"})}
    assert resolved(entra, "slack") == "https://hooks.example/x"
    assert resolved(entra, "pair#token") == "t0ps3cret"
    entra.secrets["slack"] = "https://hooks.example/y"
    assert resolved(entra, "slack/0123456789abcdef") == "https://hooks.example/y"


def test_what_is_not_there_is_a_mistake_of_the_configuration(entra: Entra) -> None:
    """The reader learns which; values are not quoted."""
    entra.secrets["pair"] = json.dumps({"token": "t0ps3cret"})
    with pytest.raises(ConfigError, match="secrets/none is not there"):
        resolved(entra, "none")
    with pytest.raises(ConfigError, match="'tokn'") as caught:
        resolved(entra, "pair#tokn")
    assert "t0ps3cret" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not the address of a secret"):
        Secret("azure_secret", "slack").resolve()


def test_a_refusal_names_the_role(entra: Entra) -> None:
    """It may be mended, so it is tried again."""
    entra.refuse = (403, "Forbidden")
    with pytest.raises(Retryable, match=f"the role {azure_secrets.READER} is missing"):
        resolved(entra, "slack")
