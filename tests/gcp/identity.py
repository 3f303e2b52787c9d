"""A token service, a service for impersonation and a secret manager on loopback: what Google's sign-in talks to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

READER = "reader@p.iam.gserviceaccount.com"
IMPERSONATION = "/v1/projects/-/serviceAccounts/{}:generateAccessToken"
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"


@dataclass
class Identity:
    """A running server."""

    url: str = ""
    secrets: dict[str, bytes] = field(default_factory=dict)
    """Path of a version → value."""
    status: int = 200
    """Of the secret manager's next answers."""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Path, token and form of each request."""

    def service_account(self) -> dict[str, Any]:
        """A key file."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "client_email": "collector@p.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "private_key_id": "k",
            "token_uri": f"{self.url}/token",
        }

    def federation(self, file: str) -> dict[str, Any]:
        """The configuration of a workload identity federation, by a token in a file, as a service account."""
        return {
            "type": "external_account",
            "audience": POOL,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/sts",
            "credential_source": {"file": file},
            "service_account_impersonation_url": f"{self.url}{IMPERSONATION.format(READER)}",
        }

    def answer(self, path: str, token: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What the service of this path says."""
        self.seen.append((path, token, form))
        if path == "/token":
            return 200, {"access_token": "of-the-key", "expires_in": 3600, "token_type": "Bearer"}
        if path == "/sts":
            return 200, {
                "access_token": f"for-{form['subject_token']}",
                "expires_in": 3600,
                "token_type": "Bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }
        if path == IMPERSONATION.format(READER):
            until = datetime.now(UTC) + timedelta(hours=1)
            return 200, {"accessToken": f"as-{READER}", "expireTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if self.status != 200 or path not in self.secrets:
            return self.status if self.status != 200 else 404, {"error": {"message": "no"}}
        return 200, {"payload": {"data": base64.b64encode(self.secrets[path]).decode()}}


@contextmanager
def running() -> Iterator[Identity]:
    """Start the server; stop it at the end."""
    identity = Identity()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, form: dict[str, str]) -> None:
            status, document = identity.answer(self.path, self.headers.get("Authorization", ""), form)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    identity.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield identity
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
