from ingestd_aws import account, actor, context, succeeded


def rule(event):
    return event.get("eventSource") == "organizations.amazonaws.com" and event.get("eventName") == "LeaveOrganization"


def title(event):
    done = "took" if succeeded(event) else "tried to take"
    return f"{actor(event)} {done} account {account(event)} out of its organisation"


def severity(event):
    return "CRITICAL" if succeeded(event) else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{severity(event)}"


def alert_context(event):
    return context(event, "errorCode")
