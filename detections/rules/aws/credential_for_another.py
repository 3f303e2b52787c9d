from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import named

WHAT = {
    "CreateAccessKey": "an access key",
    "CreateLoginProfile": "a password",
    "UpdateLoginProfile": "a new password",
}


def rule(event):
    if event.get("eventName") not in WHAT or not succeeded(event):
        return False
    return bool(asked(event, "userName")) and asked(event, "userName") != event.deep_get("userIdentity", "userName")


def title(event):
    whom = named(asked(event, "userName"))
    return f"{actor(event)} made {WHAT[event.get('eventName')]} for user {whom} of account {account(event)}"


def dedup(event):
    return f"{account(event)}:{named(asked(event, 'userName'))}"


def alert_context(event):
    return context(event, "requestParameters")
