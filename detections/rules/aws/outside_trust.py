from ingestd_aws import account, account_of, actor, allowing, asked, context, for_everyone, principals, succeeded
from ingestd_values import named

DOCUMENTS = {"CreateRole": "assumeRolePolicyDocument", "UpdateAssumeRolePolicy": "policyDocument"}


def rule(event):
    if event.get("eventName") not in DOCUMENTS or not succeeded(event):
        return False
    return bool(_outsiders(event))


def _outsiders(event):
    """Who from outside may take the role: accounts, or `*` for anybody."""
    home = account(event)
    found = []
    for statement in allowing(asked(event, DOCUMENTS[event.get("eventName")])):
        for name in principals(statement):
            who = "*" if name == "*" else account_of(name)
            if who and who != home and (who != "*" or for_everyone(statement)):
                found.append(who)
    return list(dict.fromkeys(found))


def _role(event):
    return named(asked(event, "roleName"))


def title(event):
    whom = "anybody" if "*" in _outsiders(event) else f"account {', '.join(_outsiders(event)[:5])}"
    return f"{actor(event)} let {whom} take the role {_role(event)} of account {account(event)}"


def severity(event):
    return "CRITICAL" if "*" in _outsiders(event) else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{_role(event)}:{severity(event)}"


def alert_context(event):
    return {"outsiders": _outsiders(event), **context(event, "requestParameters")}
