from ingestd_aws import account, account_of, actor, asked, context, succeeded
from ingestd_values import named

NARROWED_BY = ("principalOrgID", "sourceAccount", "sourceArn")


def rule(event):
    if event.get("eventSource") != "lambda.amazonaws.com" or not succeeded(event):
        return False
    return event.get("eventName").startswith("AddPermission") and bool(_stranger(event))


def _stranger(event):
    """The account that may call the function from outside, or `*`; empty when there is none."""
    whom = str(asked(event, "principal"))
    if whom == "*":
        return "" if any(asked(event, field) for field in NARROWED_BY) else whom
    return "" if account_of(whom) == account(event) else account_of(whom)


def _function(event):
    return named(asked(event, "functionName")).rpartition(":")[2]


def title(event):
    whom = "anybody" if _stranger(event) == "*" else f"account {_stranger(event)}"
    return f"{actor(event)} let {whom} call the function {_function(event)} of account {account(event)}"


def severity(event):
    return "HIGH" if _stranger(event) == "*" else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{_function(event)}:{_stranger(event)}"


def alert_context(event):
    return context(event, "requestParameters")
