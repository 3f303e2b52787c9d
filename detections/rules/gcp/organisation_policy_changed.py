from ingestd_gcp import actor, context, method, resource, succeeded
from ingestd_values import last

SERVICES = {"cloudresourcemanager.googleapis.com", "orgpolicy.googleapis.com"}
METHODS = (".OrgPolicy.DeletePolicy", ".OrgPolicy.UpdatePolicy", "ClearOrgPolicy", "SetOrgPolicy")


def rule(event):
    if event.deep_get("protoPayload", "serviceName") not in SERVICES:
        return False
    return method(event).endswith(METHODS) and succeeded(event)


def _constraint(event):
    asked = event.deep_get("protoPayload", "request", "policy", "constraint")
    return last(asked or resource(event))


def title(event):
    return f"{actor(event)} changed the organisation policy {_constraint(event)} of {resource(event)}"


def dedup(event):
    return f"{resource(event)}:{_constraint(event)}"


def alert_context(event):
    return context(event, "request")
