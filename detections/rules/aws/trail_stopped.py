from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import named

NAMES = {"StopLogging", "DeleteTrail", "DeleteEventDataStore", "StopEventDataStoreIngestion"}


def rule(event):
    if event.get("eventSource") != "cloudtrail.amazonaws.com" or event.get("eventName") not in NAMES:
        return False
    return succeeded(event)


def title(event):
    return f"{actor(event)} made CloudTrail blind: {event.get('eventName')} of {_trail(event)}"


def severity(event):
    return "HIGH" if event.get("eventName") == "StopLogging" else "CRITICAL"


def dedup(event):
    return f"{account(event)}:{_trail(event)}:{event.get('eventName')}"


def alert_context(event):
    return context(event, "requestParameters")


def _trail(event):
    return named(asked(event, "name") or asked(event, "eventDataStore"))
