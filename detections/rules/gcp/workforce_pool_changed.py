from ingestd_gcp import actor, asked, context, method, resource, succeeded, where
from ingestd_values import last, named

SERVICE = "google.iam.admin.v1.WorkforcePools."
CHANGES = {
    SERVICE + "CreateWorkforcePool": "created",
    SERVICE + "CreateWorkforcePoolProvider": "added a provider to",
    SERVICE + "UpdateWorkforcePool": "updated",
    SERVICE + "UpdateWorkforcePoolProvider": "updated a provider of",
}


def rule(event):
    return event.deep_get("protoPayload", "methodName") in CHANGES and succeeded(event)


def _pool(event):
    """The pool's own name. A request to create one names it in a field of its own."""
    path = asked(event, "workforcePool", "name") or asked(event, "parent") or resource(event)
    if "workforcePools/" in str(path):
        return str(path).partition("workforcePools/")[2].partition("/")[0]
    return named(asked(event, "workforcePoolId") or last(path))


def _organisation(event):
    owner = asked(event, "workforcePool", "parent") or where(event)
    return last(owner)


def title(event):
    done = CHANGES[method(event)]
    return f"{actor(event)} {done} workforce pool {_pool(event)} of organisation {_organisation(event)}"


def dedup(event):
    return f"{_organisation(event)}:{_pool(event)}:{actor(event)}"


def alert_context(event):
    return context(event, "request")
