"""As whom AWS is talked to: roles, external ids, web identity, renewal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ingestd.cloud.aws import Account, Clients, Role
from ingestd.cloud.aws_http import NO_BODY, Address, path_in_signatures
from ingestd.cloud.aws_json import JsonCalls
from ingestd.cloud.aws_sign import Signer
from ingestd.config.aws import AwsConfig, RoleConfig
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError, Retryable
from ingestd.stores._s3_fast import fast_reader
from ingestd.stores._s3_small import SmallObjects, encoded
from tests.aws.proxy import Proxy, Refuse, in_front_of
from tests.aws.servers import REGION, Aws

ROLE = "arn:aws:iam::111122223333:role/ingestd"


@pytest.fixture
async def proxy(ministack: Aws) -> AsyncIterator[Proxy]:
    """A proxy before the main server."""
    async with in_front_of(ministack.url) as made:
        yield made


async def list_queues(clients: Clients) -> None:
    """Some call that needs credentials."""
    await (await clients.get("sqs")).list_queues()


def clients_with(proxy: Proxy, role: Role) -> Clients:
    """Clients that assume the role by the proxy."""
    return Clients(Account(region=REGION, endpoint_url=proxy.url, role=role))


async def test_a_role_is_assumed_with_its_external_id(proxy: Proxy) -> None:
    """Once, and its credentials sign what follows."""
    clients = clients_with(proxy, Role(arn=ROLE, external_id=lambda: "x-1", session_name="me"))
    await list_queues(clients)
    await list_queues(clients)
    await clients.close()
    (assumed,) = proxy.operations("sts AssumeRole")
    assert (assumed.form["RoleArn"], assumed.form["ExternalId"]) == (ROLE, "x-1")
    assert assumed.form["RoleSessionName"] == "me"
    assert "Credential=testing/" in assumed.headers["Authorization"]
    for call in proxy.operations("sqs ListQueues"):
        assert "Credential=testing/" not in call.headers["Authorization"]
        assert "X-Amz-Security-Token" in call.headers


async def test_what_is_called_without_the_sdk_is_signed_as_it_would(ministack: Aws, proxy: Proxy) -> None:
    """Queue and objects, with the credentials of the role, assumed once."""
    bucket, queue = ministack.bucket(), ministack.queue()
    ministack.put(bucket, "a", b"x")
    role = Role(arn="arn:aws:iam::000000000000:role/ingestd")  # of the account that owns the bucket
    clients = clients_with(proxy, role)
    calls, fast = JsonCalls(clients, "sqs", "AmazonSQS"), fast_reader(clients, requester_pays=False)
    small = SmallObjects(clients, requester_pays=False)
    assert not (await calls.call("ReceiveMessage", {"QueueUrl": queue})).get("Messages")
    assert await fast.get(bucket, "a", etag=None, version=None, offset=0) is not None
    assert await small.read(bucket, "a", None) is not None
    await calls.close()
    await small.close()
    await clients.close()
    assert len(proxy.operations("sts AssumeRole")) == 1
    assert len(proxy.operations("s3 GET")) == 2
    for call in (*proxy.operations("sqs ReceiveMessage"), *proxy.operations("s3 GET")):
        assert call.headers["User-Agent"] == "ingestd"
        signed = {name.lower(): value for name, value in call.headers.items()}
        assert "Credential=testing/" not in signed["authorization"]
        assert signed["x-amz-security-token"]


def of_the_sdk(
    auth: Any, method: str, url: str, headers: dict[str, str], body: bytes
) -> tuple[dict[str, str], datetime]:
    """The headers that the SDK would send, and when."""
    request = AWSRequest(method, url, headers=headers, data=body)
    auth.add_auth(request)
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return dict(request.headers.items()), moment


@pytest.mark.parametrize("token", [None, "a/session+token="])
@pytest.mark.parametrize(
    "endpoint",
    ["https://sqs.eu-central-1.amazonaws.com", "http://127.0.0.1:4566/", "https://Proxy.corp:443//a/../b%20c/"],
)
def test_calls_are_signed_as_the_sdk_would(endpoint: str, token: str | None) -> None:
    """Header by header, for the same moment; on the next day, and for another secret, too."""
    address, signer = Address(endpoint), Signer("sqs", REGION)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.X", "Host": address.host}
    target = f"POST\n{path_in_signatures(address)}\n"
    for secret, body in (("one", b"{}"), ("two", b'{"a": "\xc3\xa9"}')):
        credentials = Credentials("AKID", secret, token)
        url, digest = f"{address.root}{address.path}/", sha256(body).hexdigest()
        wanted, moment = of_the_sdk(SigV4Auth(credentials, "sqs", REGION), "POST", url, headers, body)
        assert signer.signed(target, headers, digest, credentials, moment) == wanted
        tomorrow = signer.signed(target, headers, digest, credentials, moment + timedelta(days=1))
        assert signer.signed(target, headers, digest, credentials, moment) == wanted
        assert tomorrow["Authorization"] != wanted["Authorization"]


@pytest.mark.parametrize("key", ["AWSLogs/a b+c=d,e@f:(g).json.gz", "a_b~c.d-e"])
def test_reads_are_signed_as_the_sdk_would(key: str) -> None:
    """The key is encoded once, in the request as in its signature."""
    address, signer, credentials = (
        Address("https://logs.s3.amazonaws.com"),
        Signer("s3", REGION),
        Credentials("A", "b"),
    )
    path = f"/{encoded(key)}"
    headers = {"X-Amz-Content-SHA256": NO_BODY, "If-Match": '"1"', "Host": address.host}
    auth = S3SigV4Auth(credentials, "s3", REGION)
    wanted, moment = of_the_sdk(auth, "GET", f"{address.root}{path}", headers, b"")
    assert signer.signed(f"GET\n{path}\n", headers, NO_BODY, credentials, moment) == wanted


async def test_credentials_are_renewed_before_they_expire(proxy: Proxy) -> None:
    """With the shortest duration every call is near the end; the external id is read anew each time."""
    ids = iter(["first", "second"])
    clients = clients_with(proxy, Role(arn=ROLE, external_id=lambda: next(ids), duration_secs=900))
    await list_queues(clients)
    await list_queues(clients)
    await clients.close()
    assert [seen.form["ExternalId"] for seen in proxy.operations("sts AssumeRole")] == ["first", "second"]


async def test_a_role_is_assumed_with_a_web_identity(proxy: Proxy, tmp_path: Path) -> None:
    """The token of the file, without credentials of our own."""
    token = tmp_path / "token"
    token.write_text("eyJhbGciOi.token\n")
    clients = clients_with(proxy, Role(arn=ROLE, web_identity_token_file=str(token)))
    await list_queues(clients)
    await clients.close()
    (assumed,) = proxy.operations("sts AssumeRoleWithWebIdentity")
    assert assumed.form["WebIdentityToken"] == "eyJhbGciOi.token"
    assert "Authorization" not in assumed.headers


async def test_an_instance_has_its_role(ministack: Aws, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metadata service hands out the credentials; and a role in another account is assumed with them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", ministack.url)
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "30")  # the service is near, but the machine may be busy
    clients = Clients(Account(region=REGION, endpoint_url=proxy.url))
    await list_queues(clients)
    await clients.close()
    (call,) = proxy.operations("sqs ListQueues")
    assert "X-Amz-Security-Token" in call.headers
    clients = clients_with(proxy, Role(arn=ROLE, external_id=lambda: "x-1"))
    await list_queues(clients)
    await clients.close()
    (assumed,) = proxy.operations("sts AssumeRole")
    assert "X-Amz-Security-Token" in assumed.headers
    assert (
        proxy.operations("sqs ListQueues")[1].headers["X-Amz-Security-Token"] != call.headers["X-Amz-Security-Token"]
    )


async def test_a_refused_role_names_the_permission(proxy: Proxy) -> None:
    """The trust policy may be mended: it is tried again."""
    clients = clients_with(proxy, Role(arn=ROLE))
    proxy.rule = lambda seen: Refuse(403, "AccessDenied") if seen.operation.startswith("sts") else None
    with pytest.raises(Retryable, match=f"{ROLE}.*sts:AssumeRole is missing"):
        await list_queues(clients)
    await clients.close()


@pytest.mark.parametrize(
    ("account", "says"),
    [
        (Account(region=REGION, profile="no-such"), "no-such"),
        (Account(region=REGION, endpoint_url="http://"), "http://"),
    ],
)
async def test_what_no_client_can_be_made_of_is_a_mistake_of_the_configuration(account: Account, says: str) -> None:
    """Waiting does not help."""
    clients = Clients(account)
    with pytest.raises(ConfigError, match=says):
        await list_queues(clients)
    await clients.close()


def test_the_external_id_is_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when the role is assumed, not when the configuration is."""
    config = AwsConfig(assume_role=RoleConfig(arn=ROLE, external_id=Secret("env", "EXTERNAL_ID")))
    role = config.to_account().role
    monkeypatch.setenv("EXTERNAL_ID", "later")
    assert role is not None
    assert role.external_id is not None
    assert role.external_id() == "later"


def test_a_configuration_with_aws_is_validated_without_the_sdk(tmp_path: Path) -> None:
    """`ingestd validate` stays fast, and works where the SDK is not installed."""
    (tmp_path / "ingestd.yml").write_text(
        "sources: {trail: {type: aws_sqs, queue_url: 'https://sqs.eu-central-1.amazonaws.com/1/q'}}\n"
    )
    program = (
        "import sys; from pathlib import Path; from ingestd.config.load import load; "
        f"load(Path({str(tmp_path / 'ingestd.yml')!r})); "
        "print(*(name for name in sys.modules if name.startswith(('aiobotocore', 'botocore'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
