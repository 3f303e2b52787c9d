"""How a section of the configuration says as whom Google Cloud is talked to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingestd.cloud import gcp
from ingestd.config.base import Model
from ingestd.config.secrets import Secret

Endpoint = Annotated[str, Field(pattern=r"^https?://[^\s?#/]+/?$")]


class GcpConfig(Model):
    """What everything that talks to Google Cloud understands. Without `credentials` they are found as by every Google
    tool (Application Default Credentials): environment, metadata server, `gcloud auth`."""

    credentials: Secret | None = None
    """JSON text of a credentials file: the configuration of a workload identity federation, or a service account's
    key. Read again when we are refused, so that a rotated one needs no restart."""
    impersonate: Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")] | None = None
    """Service account to act as; needs the role Service Account Token Creator on it."""
    pubsub_endpoint: Endpoint = gcp.PUBSUB
    """Address of Pub/Sub: a regional one keeps messages in their region. With `http:` no credentials are sent."""
    storage_endpoint: Endpoint = gcp.STORAGE
    """Address of Cloud Storage. With `http:` no credentials are sent."""

    def to_account(self) -> gcp.Account:
        """The same without the model."""
        return gcp.Account(
            credentials=self.credentials.resolve if self.credentials else None,
            impersonate=self.impersonate,
            pubsub_endpoint=self.pubsub_endpoint.rstrip("/"),
            storage_endpoint=self.storage_endpoint.rstrip("/"),
        )
