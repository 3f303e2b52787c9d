from ingestd_aws import account, actor, asked, context, is_service, principal, succeeded
from ingestd_values import named, texts

SEVERAL = "BatchGetSecretValue"


def rule(event):
    if event.get("eventSource") != "secretsmanager.amazonaws.com":
        return False
    return event.get("eventName") in ("GetSecretValue", SEVERAL) and succeeded(event) and not is_service(event)


def unique(event):
    names = [*texts(asked(event, "secretId")), *texts(asked(event, "secretIdList"))]
    return ",".join(names) or named(event.get("eventID"))


def title(event):
    return f"{actor(event)} is reading many secrets of account {account(event)}"


def dedup(event):
    return principal(event)


def alert_context(event):
    return context(event, "requestParameters")
