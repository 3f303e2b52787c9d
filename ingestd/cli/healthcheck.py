"""`ingestd healthcheck`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.config.models import HttpConfig

Ready = Annotated[
    bool, typer.Option("--ready", envvar="INGESTD_READY", help="Ask whether it takes work, not only lives.")
]
Timeout = Annotated[
    float, typer.Option("--timeout", envvar="INGESTD_TIMEOUT", help="Seconds to wait for the answer.")
]


def command(config: ConfigFile = None, ready: Ready = False, timeout: Timeout = 5.0, as_json: Json = False) -> None:
    """Ask the running daemon how it is.

    Exit code 0 well, 1 not well, 69 no answer. For containers, which have no curl.
    """
    from ingestd.config.load import load
    from ingestd.errors import Retryable

    http = load(config_file(config)).http
    path = "/readyz" if ready else "/healthz"
    try:
        status, text = _get(http, path, timeout)
    except OSError as error:
        raise Retryable(f"no answer from {http.listen}: {error}") from None
    well = status == 200
    if as_json:
        output.print_json({"ok": well, "status": status, "reasons": [] if well else text.splitlines()})
    else:
        print(text, end="")
    raise typer.Exit(0 if well else 1)


def _get(http: HttpConfig, path: str, timeout: float) -> tuple[int, str]:
    import ssl
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    from ingestd.errors import ConfigError, Problem

    address = http.address
    if address is None:
        raise ConfigError([Problem("the admin port is off", path="http.listen")])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104 - what it listens on, not where
    connection: HTTPConnection
    if http.tls is not None:
        context = ssl.create_default_context(cafile=str(http.tls.certificate))
        context.check_hostname = False  # asked by address; it is the daemon's own certificate that must be there
        connection = HTTPSConnection(host, address[1], timeout=timeout, context=context)
    else:
        connection = HTTPConnection(host, address[1], timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(65_536).decode(errors="replace")
    except HTTPException as error:
        raise ConnectionError(f"not an HTTP answer: {error!r}") from None
    finally:
        connection.close()
