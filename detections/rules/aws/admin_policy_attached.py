from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import last, named

NAMES = {"AttachGroupPolicy", "AttachRolePolicy", "AttachUserPolicy"}
POLICIES = ("policy/AdministratorAccess", "policy/IAMFullAccess", "policy/PowerUserAccess")


def rule(event):
    if event.get("eventName") not in NAMES or not succeeded(event):
        return False
    return str(asked(event, "policyArn")).endswith(POLICIES)


def _whom(event):
    return named(asked(event, "userName") or asked(event, "roleName") or asked(event, "groupName"))


def title(event):
    return f"{actor(event)} gave {_whom(event)} {last(asked(event, 'policyArn'))} in account {account(event)}"


def dedup(event):
    return f"{account(event)}:{_whom(event)}"


def alert_context(event):
    return context(event, "requestParameters")
