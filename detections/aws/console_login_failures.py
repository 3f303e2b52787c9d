from ingestd_aws import context


def rule(event):
    return (
        event.get("eventName") == "ConsoleLogin" and event.deep_get("responseElements", "ConsoleLogin") == "Failure"
    )


def title(event):
    return f"Many failed console sign-ins from {event.get('sourceIPAddress')}"


def dedup(event):
    return event.get("sourceIPAddress") or "unknown address"


def alert_context(event):
    return context(event, "errorMessage")
