from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import last, named

NAMES = {"DeactivateMFADevice", "DeleteVirtualMFADevice"}


def rule(event):
    return event.get("eventName") in NAMES and succeeded(event)


def _whose(event):
    return named(asked(event, "userName") or last(asked(event, "serialNumber")))


def title(event):
    return f"{actor(event)} removed the second factor of {_whose(event)} in account {account(event)}"


def dedup(event):
    return f"{account(event)}:{_whose(event)}"


def alert_context(event):
    return context(event, "requestParameters")
