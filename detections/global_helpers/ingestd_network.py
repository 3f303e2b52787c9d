"""Ports and addresses that several rules ask about."""

from ipaddress import ip_address

from ingestd_values import number

EVERYWHERE = frozenset({"0.0.0.0/0", "::/0", "*", "Internet", "Any", "any", "internet"})
SENSITIVE_PORTS = {
    22: "SSH",
    445: "SMB",
    1433: "SQL Server",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    5900: "VNC",
    5985: "WinRM",
    6379: "Redis",
    6443: "the Kubernetes API",
    9200: "Elasticsearch",
    27017: "MongoDB",
}


def is_public(address):
    """Whether this is the address of somebody on the internet."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def exposed(first, last):
    """What a range of ports opens, by name; empty when none of it is sensitive."""
    first, last = number(first), number(last)
    if first is None or last is None:
        return []
    if first <= 0 and last in (-1, 0, 65535):
        return ["every port"]
    return [name for port, name in SENSITIVE_PORTS.items() if first <= port <= last]


def exposed_by_text(ports):
    """The same for a range as Azure and Google write it: `22`, `20-25`, `*`."""
    if ports in ("*", "", None):
        return ["every port"]
    first, _, last = str(ports).partition("-")
    return exposed(first, last or first)
