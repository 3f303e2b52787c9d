"""Ports for servers that have to be told theirs before they start."""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 32_768)
"""Below those that the system gives to connections, and to who asks for any: a server that starts in a few seconds
would find such a one taken now and then."""


def free_port() -> int:
    """A port of loopback on which nobody listens now, and hardly anybody will before our server does."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
