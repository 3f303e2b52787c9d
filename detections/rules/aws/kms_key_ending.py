from ingestd_aws import actor, asked, context, is_service, succeeded
from ingestd_values import last

NAMES = {"DeleteImportedKeyMaterial", "DisableKey", "ScheduleKeyDeletion"}


def rule(event):
    if event.get("eventSource") != "kms.amazonaws.com" or event.get("eventName") not in NAMES:
        return False
    return succeeded(event) and not is_service(event)


def _key(event):
    return last(asked(event, "keyId"))


def title(event):
    return f"{actor(event)} is ending key {_key(event)}: {event.get('eventName')}"


def severity(event):
    return "MEDIUM" if event.get("eventName") == "DisableKey" else "DEFAULT"


def dedup(event):
    return f"{_key(event)}:{event.get('eventName')}"


def alert_context(event):
    return context(event, "requestParameters")
