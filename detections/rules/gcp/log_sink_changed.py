from ingestd_gcp import actor, context, method, resource, succeeded

CHANGES = {
    "google.logging.v2.ConfigServiceV2.CreateExclusion": "left something out of",
    "google.logging.v2.ConfigServiceV2.DeleteBucket": "deleted",
    "google.logging.v2.ConfigServiceV2.DeleteSink": "deleted",
    "google.logging.v2.ConfigServiceV2.UpdateSink": "changed",
}


def rule(event):
    return event.deep_get("protoPayload", "methodName") in CHANGES and succeeded(event)


def title(event):
    return f"{actor(event)} {CHANGES[method(event)]} logs: {resource(event)}"


def severity(event):
    return "HIGH" if CHANGES[method(event)] == "deleted" else "DEFAULT"


def dedup(event):
    return f"{resource(event)}:{CHANGES[method(event)]}"


def alert_context(event):
    return context(event, "request")
