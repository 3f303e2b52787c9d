from ingestd_aws import account, actor, allowing, asked, context, is_everything, succeeded
from ingestd_values import last, named

NAMES = {"CreatePolicy", "CreatePolicyVersion", "PutGroupPolicy", "PutRolePolicy", "PutUserPolicy"}


def rule(event):
    if event.get("eventName") not in NAMES or not succeeded(event):
        return False
    return any(is_everything(statement) for statement in allowing(asked(event, "policyDocument")))


def _policy(event):
    return named(asked(event, "policyName") or last(asked(event, "policyArn")))


def title(event):
    return f"{actor(event)} wrote a policy that allows everything in account {account(event)}: {_policy(event)}"


def dedup(event):
    return f"{account(event)}:{_policy(event)}"


def alert_context(event):
    return context(event, "requestParameters")
