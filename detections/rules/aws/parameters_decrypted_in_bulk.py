from ingestd_aws import account, actor, asked, context, is_service, principal, succeeded
from ingestd_values import named, texts

NAMES = {"GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory"}


def rule(event):
    if event.get("eventSource") != "ssm.amazonaws.com" or event.get("eventName") not in NAMES:
        return False
    return asked(event, "withDecryption") is True and succeeded(event) and not is_service(event)


def unique(event):
    names = [*texts(asked(event, "name")), *texts(asked(event, "names")), *texts(asked(event, "path"))]
    return ",".join(names) or named(event.get("eventID"))


def title(event):
    return f"{actor(event)} is decrypting many parameters of account {account(event)}"


def dedup(event):
    return principal(event)


def alert_context(event):
    return context(event, "requestParameters")
