from ingestd_aws import context
from ingestd_values import named


def rule(event):
    return (
        event.get("eventName") == "ConsoleLogin" and event.deep_get("responseElements", "ConsoleLogin") == "Failure"
    )


def title(event):
    return f"Many failed console sign-ins from {named(event.get('sourceIPAddress'))}"


def dedup(event):
    return named(event.get("sourceIPAddress"))


def alert_context(event):
    return context(event, "errorMessage")
