from ingestd_gcp import actor, context, method, resource, succeeded, where

SERVICE = "google.iam.v1.WorkloadIdentityPools."
CHANGES = {
    SERVICE + "CreateWorkloadIdentityPool",
    SERVICE + "CreateWorkloadIdentityPoolProvider",
    SERVICE + "UpdateWorkloadIdentityPoolProvider",
}


def rule(event):
    return event.deep_get("protoPayload", "methodName") in CHANGES and succeeded(event)


def _pool(event):
    name = resource(event)
    return name.partition("workloadIdentityPools/")[2].partition("/")[0] or name


def title(event):
    return f"{actor(event)} lets programs from outside into {where(event)}: {method(event).rpartition('.')[2]}"


def dedup(event):
    return f"{where(event)}:{_pool(event)}"


def alert_context(event):
    return context(event, "request")
