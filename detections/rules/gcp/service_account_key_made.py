from ingestd_gcp import actor, context, resource, succeeded
from ingestd_values import last

METHODS = {
    "google.iam.admin.v1.CreateServiceAccountKey",
    "google.iam.admin.v1.UploadServiceAccountKey",
}


def rule(event):
    return event.deep_get("protoPayload", "methodName") in METHODS and succeeded(event)


def _account(event):
    return last(resource(event).partition("/keys/")[0])


def title(event):
    return f"{actor(event)} made a key of service account {_account(event)}"


def dedup(event):
    return f"{actor(event)}:{_account(event)}"


def alert_context(event):
    return context(event)
