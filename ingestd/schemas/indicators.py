"""Indicators: which values of an event land in which `p_any_*` list.

One table. A row names the lists that it writes (without `p_any_`) and the code that the compiler puts where a
value `{v}` (text, not empty) was read; `{x}` stands for the list that collects for `p_any_x`. The memos below are
in scope of that code under their names.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from ingestd.schemas.memo import Memo

Hit = tuple[bool, str]
"""(whether it is an IP address, the value)"""


class Arn(NamedTuple):
    """What an ARN names besides itself; empty where it names none."""

    account: str
    instance: str
    email: str


class Indicator(NamedTuple):
    """One row of the table."""

    writes: tuple[str, ...]
    code: tuple[str, ...]


_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\Z")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}\Z")
_HEX = {length: re.compile(rf"[0-9a-fA-F]{{{length}}}\Z") for length in (32, 40, 64)}


def _is_ip(text: str) -> bool:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    # inet_pton takes leading zeros on some systems; other readers take them for octal
    return family == socket.AF_INET6 or all(part == "0" or not part.startswith("0") for part in text.split("."))


def ip(text: str) -> str:
    """The address, trimmed, or `""`."""
    text = text.strip()
    return text if _is_ip(text) else ""


def domain(text: str) -> str:
    """The name, trimmed, with `xn--` labels decoded where they decode."""
    text = text.strip()
    if "xn--" not in text.lower():
        return text
    try:
        return text.encode("ascii").decode("idna")
    except (UnicodeError, ValueError):
        return text


def _host(text: str) -> Hit:
    return (True, text) if _is_ip(text) else (False, domain(text))


def hostname(text: str) -> Hit:
    """An IP address or a name."""
    return _host(text.strip())


def url_host(text: str) -> Hit:
    """The host of a URL that has a scheme; userinfo and port are left out."""
    text = text.strip()
    if "://" not in text:
        return False, ""
    try:
        place = urlsplit(text).netloc
    except ValueError:
        return False, ""
    return net_address(place.rpartition("@")[2])


def net_address(text: str) -> Hit:
    """The host of `host:port`, `[v6]:port` or a bare host."""
    text = text.strip()
    if text.startswith("["):
        return _host(text[1:].partition("]")[0])
    return _host(text if text.count(":") != 1 else text.partition(":")[0])


def email(text: str) -> tuple[str, str]:
    """The address and its local part, or two empty texts."""
    text = text.strip()
    return (text, text.partition("@")[0]) if _EMAIL.match(text) else ("", "")


def digest(length: int, text: str) -> str:
    """The hash in lower case when it has `length` hex digits, else `""`."""
    text = text.strip()
    return text.lower() if _HEX[length].match(text) else ""


def mac(text: str) -> str:
    """The MAC address, lower case with colons, or `""`."""
    text = text.strip()
    if not _MAC.match(text):
        return ""
    digits = re.sub("[^0-9a-f]", "", text.lower())
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def arn(text: str) -> Arn | None:
    """What the ARN names, or None when the text is not one."""
    if not text.startswith("arn:"):
        return None
    parts = text.split(":", 5)
    if len(parts) < 6 or not parts[1] or not parts[2] or not parts[5]:
        return None
    resource = parts[5]
    instance = session = ""
    if resource.startswith("instance/i-"):
        instance = resource.removeprefix("instance/")
    elif resource.startswith("assumed-role/"):
        session = resource.rpartition("/")[2]
    return Arn(
        account=parts[4] if _ACCOUNT.match(parts[4]) else "",
        instance=instance,
        email=session if _EMAIL.match(session) else "",
    )


IP = Memo(ip)
DOMAIN = Memo(domain)
HOST = Memo(hostname)
URL = Memo(url_host)
NET = Memo(net_address)
EMAIL = Memo(email)
MAC = Memo(mac)
ARN = Memo(arn)
MD5 = Memo(lambda text: digest(32, text))
SHA1 = Memo(lambda text: digest(40, text))
SHA256 = Memo(lambda text: digest(64, text))
ACCOUNT = Memo(lambda text: text if _ACCOUNT.match(text) else "")

NAMESPACE = {name: memo for name, memo in list(globals().items()) if isinstance(memo, Memo)}
"""What the code of the table below refers to."""

_EITHER = ("ip_addresses", "domain_names")


def _either(memo: str) -> Indicator:
    return Indicator(
        _EITHER, (f"t = {memo}[{{v}}]", "if t[1]: ({ip_addresses} if t[0] else {domain_names}).append(t[1])")
    )


def _one(memo: str, writes: str) -> Indicator:
    return Indicator((writes,), (f"t = {memo}[{{v}}]", f"if t: {{{writes}}}.append(t)"))


def _trimmed(writes: str) -> Indicator:
    return Indicator((writes,), ("t = {v}.strip()", f"if t: {{{writes}}}.append(t)"))


TABLE: dict[str, Indicator] = {
    "ip": _one("IP", "ip_addresses"),
    "domain": _one("DOMAIN", "domain_names"),
    "hostname": _either("HOST"),
    "url": _either("URL"),
    "net_addr": _either("NET"),
    "email": Indicator(
        ("emails", "usernames"),
        ("t = EMAIL[{v}]", "if t[0]: {emails}.append(t[0]); {usernames}.append(t[1])"),
    ),
    "username": _trimmed("usernames"),
    "actor_id": _trimmed("actor_ids"),
    "trace_id": _trimmed("trace_ids"),
    "serial_number": _trimmed("serial_numbers"),
    "mac": _one("MAC", "mac_addresses"),
    "md5": _one("MD5", "md5_hashes"),
    "sha1": _one("SHA1", "sha1_hashes"),
    "sha256": _one("SHA256", "sha256_hashes"),
    "aws_tag": Indicator(("aws_tags",), ("{aws_tags}.append({v})",)),
    "aws_account_id": _one("ACCOUNT", "aws_account_ids"),
    "aws_instance_id": Indicator(("aws_instance_ids",), ("if {v}.startswith('i-'): {aws_instance_ids}.append({v})",)),
    "aws_arn_only": Indicator(("aws_arns",), ("if ARN[{v}] is not None: {aws_arns}.append({v})",)),
    "aws_arn": Indicator(
        ("aws_arns", "aws_account_ids", "aws_instance_ids", "emails"),
        (
            "t = ARN[{v}]",
            "if t is not None:",
            "    {aws_arns}.append({v})",
            "    if t[0]: {aws_account_ids}.append(t[0])",
            "    if t[1]: {aws_instance_ids}.append(t[1])",
            "    if t[2]: {emails}.append(t[2])",
        ),
    ),
}

SCANNABLE = ("ip", "aws_arn", "aws_arn_only", "aws_instance_id", "aws_account_id", "email", "md5", "sha1", "sha256")
"""Indicators that a `json` field may carry: a value deep inside free-form data proves itself by its form."""
