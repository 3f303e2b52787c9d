from ingestd_aws import DENIED, account, actor, context, is_service, principal
from ingestd_values import named


def rule(event):
    return event.get("errorCode") in DENIED and not is_service(event)


def unique(event):
    return f"{named(event.get('eventSource'))}:{event.get('eventName')}"


def title(event):
    return f"{actor(event)} is refused one call after another in account {account(event)}"


def dedup(event):
    return principal(event)


def alert_context(event):
    return context(event, "errorCode", "errorMessage")
