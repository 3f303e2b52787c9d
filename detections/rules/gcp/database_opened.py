from ingestd_gcp import actor, asked, context, resource, succeeded
from ingestd_network import EVERYWHERE
from ingestd_values import last, mappings

METHODS = {"cloudsql.instances.create", "cloudsql.instances.patch", "cloudsql.instances.update"}


def rule(event):
    if event.deep_get("protoPayload", "methodName") not in METHODS or not succeeded(event):
        return False
    body = asked(event, "body", "settings") or asked(event, "settings") or {}
    networks = [
        network
        for one in mappings(body)
        for each in mappings(one.get("ipConfiguration"))
        for network in mappings(each.get("authorizedNetworks"))
    ]
    return any(str(network.get("value")) in EVERYWHERE for network in networks)


def title(event):
    return f"{actor(event)} opened database {last(resource(event))} to the internet"


def dedup(event):
    return resource(event)


def alert_context(event):
    return context(event, "request")
