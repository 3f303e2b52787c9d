from ingestd_aws import account, actor, context


def rule(event):
    if event.get("eventName") != "ConsoleLogin" or event.deep_get("userIdentity", "type") != "IAMUser":
        return False
    return (
        event.deep_get("responseElements", "ConsoleLogin") == "Success"
        and event.deep_get("additionalEventData", "MFAUsed") == "No"
    )


def title(event):
    return f"{actor(event)} signed in to account {account(event)} without a second factor"


def dedup(event):
    return f"{account(event)}:{actor(event)}"


def alert_context(event):
    return context(event, "additionalEventData")
