"""Which proxy the environment names for an address."""

from __future__ import annotations

import pytest

from ingestd.cloud.proxies import proxy_for


@pytest.mark.parametrize(
    ("proxy", "exceptions", "address", "found"),
    [
        ("http://proxy.corp:3128", "", "http://logs.test/a", "http://proxy.corp:3128"),
        ("http://me:pw@proxy.corp", "", "http://logs.test", "http://me:pw@proxy.corp"),
        ("proxy.corp:3128", "", "http://logs.test", "http://proxy.corp:3128"),
        ("//proxy.corp:3128", "", "http://logs.test", "http://proxy.corp:3128"),
        ("http://proxy.corp:3128", "", "https://logs.test", None),
        ("", "", "http://logs.test", None),
        ("http://proxy.corp", "logs.test", "http://me@logs.test:9000/a", None),
        ("http://proxy.corp", "logs.test:9000", "http://me@logs.test:9000", None),
        ("http://proxy.corp", "logs.test:9001", "http://logs.test:9000", "http://proxy.corp"),
        ("http://proxy.corp", ".test", "http://logs.test:9000", None),
        ("http://proxy.corp", "::1", "http://[::1]:9000", None),
        ("http://proxy.corp", "*", "http://logs.test", None),
    ],
)
def test_the_environment_is_read_as_the_sdks_read_it(
    monkeypatch: pytest.MonkeyPatch, proxy: str, exceptions: str, address: str, found: str | None
) -> None:
    """A proxy may be named without a scheme, an exception with a port."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", exceptions)
    assert proxy_for(address) == found
