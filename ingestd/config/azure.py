"""How a section of the configuration says as whom Azure is talked to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ingestd.cloud import azure
from ingestd.config.base import Model
from ingestd.config.secrets import Secret

Url = Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]


class AzureConfig(Model):
    """What everything that talks to Azure's storage understands. Without a connection string or a SAS, credentials
    are found as by every Azure tool: environment, workload identity, managed identity, `az login`."""

    account_url: Url | None = None
    """Address of the account's queue service, e.g. `https://logs.queue.core.windows.net`. It also tells the cloud:
    `…usgovcloudapi.net` and `…chinacloudapi.cn` bring their own sign-in."""
    connection_string: Secret | None = None
    """Instead of a role: the account's connection string, with a key or a SAS in it."""
    sas_token: Secret | None = None
    """Instead of a role: a shared access signature for the queue and its blobs. Both secrets are read again when the
    service refuses them, so that a rotated one needs no restart."""
    client_id: str | None = None
    """Client id of the managed or workload identity, where the machine has several."""
    tenant_id: str | None = None
    """Tenant of the workload identity, where it is not that of the environment."""
    authority: Url | None = None
    """Where tokens come from, e.g. `https://login.microsoftonline.us`; by default that of the address's cloud."""
    blob_endpoints: dict[str, Url] = Field(default_factory=dict)
    """Account name → address of its blob service, for accounts elsewhere than at `https://<name>.blob.<cloud>`:
    private domains, DNS zones, servers that are not Azure. Messages cannot name a host; they name an account."""

    @model_validator(mode="after")
    def _one_way_in(self) -> AzureConfig:
        if self.account_url is None and self.connection_string is None:
            raise ValueError("write `account_url`, or a `connection_string` that has it")
        if self.connection_string is not None and self.sas_token is not None:
            raise ValueError("`connection_string` and `sas_token` are two ways of signing in; write one")
        return self

    def to_account(self) -> azure.Account:
        """The same without the model."""
        return azure.Account(
            account_url=self.account_url,
            connection_string=self.connection_string.resolve if self.connection_string else None,
            sas_token=self.sas_token.resolve if self.sas_token else None,
            client_id=self.client_id,
            tenant_id=self.tenant_id,
            authority=self.authority,
            blob_endpoints=dict(self.blob_endpoints),
        )
