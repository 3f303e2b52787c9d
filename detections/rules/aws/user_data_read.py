from ingestd_aws import account, actor, asked, context, is_service, principal
from ingestd_values import named


def rule(event):
    if event.get("eventName") != "DescribeInstanceAttribute" or is_service(event):
        return False
    return asked(event, "attribute") == "userData"


def unique(event):
    return named(asked(event, "instanceId"))


def title(event):
    return f"{actor(event)} is reading the start scripts of instances in account {account(event)}"


def dedup(event):
    return principal(event)


def alert_context(event):
    return context(event, "requestParameters", "errorCode")
