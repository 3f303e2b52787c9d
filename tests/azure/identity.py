"""What signs in: a token service and a key vault on loopback, with a certificate of their own."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TENANT = "00000000-1111-2222-3333-444444444444"
CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Entra:
    """Gives tokens for a federated token, and keeps secrets for who has a token."""

    def __init__(self) -> None:
        self.url = ""
        self.federated = "the-pods-own-token"
        self.secrets: dict[str, str] = {}
        self.refuse: tuple[int, str] | None = None
        """Status and code that the vault answers instead."""
        self.asked: list[str] = []
        """Scopes for which tokens were given."""

    def token(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """The answer of the token service."""
        if form.get("client_assertion") != [self.federated] or form.get("client_id") != [CLIENT]:
            return 401, {"error": "invalid_client", "error_description": "AADSTS700211: no matching identity record"}
        scope = form["scope"][0]
        self.asked.append(scope)
        return 200, {
            "token_type": "Bearer",
            "expires_in": 3600,
            "access_token": _token(scope.removesuffix("/.default")),
        }

    def secret(self, path: str, signed_in: bool) -> tuple[int, dict[str, Any]]:
        """The answer of the vault."""
        if not signed_in:
            return 401, {}
        if self.refuse is not None:
            return self.refuse[0], {"error": {"code": self.refuse[1], "message": "told to fail"}}
        _, _, name, version = f"{path.rstrip('/')}/".split("/")[:4]
        if name not in self.secrets:
            return 404, {"error": {"code": "SecretNotFound", "message": f"A secret with name {name} was not found"}}
        return 200, {
            "value": self.secrets[name],
            "id": f"{self.url}/secrets/{name}/{version or 'v1'}",
            "attributes": {},
        }


def _token(audience: str) -> str:
    """As much of a token as a service on loopback looks at: nobody checks the signature."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now,
        "nbf": now - 60,
        "exp": now + 3600,
        "oid": CLIENT,
        "tid": TENANT,
        "ver": "1.0",
    }
    parts = ({"typ": "JWT", "alg": "RS256", "kid": "k"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@contextmanager
def running(certified: tuple[Path, Path]) -> Iterator[Entra]:
    """Start the service; stop it at the end."""
    entra = Entra()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            self._answer(*entra.token(parse_qs(self.rfile.read(size).decode())))

        def do_GET(self) -> None:
            signed_in = self.headers.get("Authorization", "").startswith("Bearer ")
            self._answer(*entra.secret(urlsplit(self.path).path, signed_in))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            if status == 401:
                # tokens go to hosts below the resource alone: `vault.azure.net` for all vaults, `0.0.1` for us
                resource = entra.url.replace("127.", "")
                vault = f'Bearer authorization="{entra.url}/{TENANT}", resource="{resource}"'
                self.send_header("WWW-Authenticate", vault)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certified)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    entra.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield entra
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(entra: Entra, certified: tuple[Path, Path], folder: Path) -> dict[str, str]:
    """What Kubernetes sets for a service account with a workload identity, and whom to trust."""
    token = folder / "federated-token"
    token.write_text("the-pods-own-token")
    return {
        "AZURE_AUTHORITY_HOST": entra.url,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(token),
        "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
        "SSL_CERT_FILE": str(certified[0]),
        "REQUESTS_CA_BUNDLE": str(certified[0]),
    }
