from ingestd_gcp import actor, asked, context, resource, succeeded
from ingestd_network import EVERYWHERE, exposed_by_text
from ingestd_values import last, listed, mappings, texts

METHODS = ("compute.firewalls.insert", "compute.firewalls.patch", "compute.firewalls.update")


def rule(event):
    if not event.deep_get("protoPayload", "methodName", default="").endswith(METHODS) or not succeeded(event):
        return False
    return bool(_opened(event))


def _opened(event):
    """What is now open to the internet, by name."""
    if asked(event, "direction") == "EGRESS" or asked(event, "disabled") is True:
        return []
    if not any(one in EVERYWHERE for one in texts(asked(event, "sourceRanges"))):
        return []
    found = []
    for allowed in mappings(asked(event, "alloweds")):
        if str(allowed.get("IPProtocol")).lower() == "all":
            return ["every port"]
        if str(allowed.get("IPProtocol")).lower() in ("tcp", "6"):
            found += [name for ports in listed(allowed.get("ports")) or ["*"] for name in exposed_by_text(ports)]
    return list(dict.fromkeys(found))


def title(event):
    return f"{actor(event)} opened {', '.join(_opened(event))} to the internet: {last(resource(event))}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return {"opened": _opened(event), **context(event, "request")}
