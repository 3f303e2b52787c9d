from ingestd_aws import account, context
from ingestd_values import named


def rule(event):
    return (
        event.get("eventName") == "ConsoleLogin"
        and event.deep_get("userIdentity", "type") == "Root"
        and event.deep_get("responseElements", "ConsoleLogin") == "Success"
    )


def title(event):
    return f"Root user of account {account(event)} signed in from {named(event.get('sourceIPAddress'))}"


def severity(event):
    return "CRITICAL" if event.deep_get("additionalEventData", "MFAUsed") == "No" else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{severity(event)}"


def alert_context(event):
    return context(event, "additionalEventData")
