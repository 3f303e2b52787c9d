"""How a section of the configuration says as whom AWS is talked to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingestd.cloud import aws
from ingestd.config.base import ConfigPath, Model, Seconds
from ingestd.config.secrets import Secret


class RoleConfig(Model):
    """A role to assume before anything else; its credentials are renewed in time."""

    arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    """ARN of the role."""
    external_id: Secret | None = None
    """The external id that the role's trust policy asks for."""
    session_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9+=,.@_-]{2,64}$")] = "ingestd"
    """How the session is called in the other account's CloudTrail."""
    duration_secs: Annotated[Seconds, Field(ge=900, le=43_200)] = 3_600
    """How long credentials last. A role assumed from a role cannot have more than an hour."""
    web_identity_token_file: ConfigPath | None = None
    """Assume the role with the token in this file rather than with credentials. On EKS this is not needed:
    the SDK finds the service account's own token and role by itself."""

    def to_role(self) -> aws.Role:
        """The same without the model."""
        return aws.Role(
            arn=self.arn,
            external_id=self.external_id.resolve if self.external_id else None,
            session_name=self.session_name,
            duration_secs=round(self.duration_secs),
            web_identity_token_file=str(self.web_identity_token_file) if self.web_identity_token_file else None,
        )


class AwsConfig(Model):
    """What everything that talks to AWS understands. Credentials are found as by every AWS tool: environment,
    profile, web identity, container, instance."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    """Region; by default that of the queue's address, else that of the SDK's configuration."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Address of every service called, for servers that are not AWS. Single services: `AWS_ENDPOINT_URL_S3` and the
    like in the environment."""
    profile: str | None = None
    """Profile of the SDK's configuration files."""
    assume_role: RoleConfig | None = None
    """A role to assume on top of the credentials found."""

    def to_account(self, region: str | None = None) -> aws.Account:
        """The same without the model; `region` is taken when none is configured."""
        return aws.Account(
            region=self.region or region,
            endpoint_url=self.endpoint_url,
            profile=self.profile,
            role=self.assume_role.to_role() if self.assume_role else None,
        )
