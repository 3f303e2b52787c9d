from ingestd_aws import context


def rule(event):
    return (
        event.get("eventName") == "ConsoleLogin"
        and event.deep_get("userIdentity", "type") == "Root"
        and event.deep_get("responseElements", "ConsoleLogin") == "Success"
    )


def title(event):
    return f"Root user of account {event.get('recipientAccountId')} signed in from {event.get('sourceIPAddress')}"


def dedup(event):
    return event.get("recipientAccountId")


def alert_context(event):
    return context(event, "additionalEventData")
