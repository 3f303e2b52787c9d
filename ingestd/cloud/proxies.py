"""Proxies that the environment names (`https_proxy` and the like), for HTTP clients on aiohttp.

aiohttp by itself (`trust_env`) looks for them, and for passwords in `.netrc`, at every request and in threads. That
costs as much as a small request does, so it is done once for an address.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(address: str) -> str | None:
    """URL of the proxy for requests to this address; None for a direct connection. Exceptions (`no_proxy`) may name a
    port; a proxy without a scheme is asked by HTTP, as by the clouds' SDKs."""
    parts = urlsplit(address)
    found = getproxies().get(parts.scheme)
    place = parts.netloc.rpartition("@")[2]
    if not found or proxy_bypass(parts.hostname or "") or proxy_bypass(place):
        return None
    return found if "://" in found else f"http://{found.removeprefix('//')}"
