from ingestd_aws import actor, context, succeeded

NAMES = {"StopLogging", "DeleteTrail", "DeleteEventDataStore"}


def rule(event):
    if event.get("eventSource") != "cloudtrail.amazonaws.com" or event.get("eventName") not in NAMES:
        return False
    return succeeded(event)


def title(event):
    trail = event.deep_get("requestParameters", "name", default="<unknown>")
    return f"{actor(event)} made CloudTrail blind: {event.get('eventName')} of {trail}"


def severity(event):
    return "CRITICAL" if event.get("eventName") != "StopLogging" else "HIGH"


def alert_context(event):
    return context(event, "requestParameters")
