from ingestd_aws import account, actor, asked, context, principal
from ingestd_values import named


def rule(event):
    return event.get("eventSource") == "ec2.amazonaws.com" and event.get("eventName") == "GetPasswordData"


def unique(event):
    return named(asked(event, "instanceId"))


def title(event):
    return f"{actor(event)} is asking for administrator passwords of instances in account {account(event)}"


def dedup(event):
    return principal(event)


def alert_context(event):
    return context(event, "requestParameters", "errorCode")
