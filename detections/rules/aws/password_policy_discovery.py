from ingestd_aws import account, actor, context, is_service, principal

NAMES = {"GetAccountPasswordPolicy", "UpdateAccountPasswordPolicy", "PutAccountPasswordPolicy"}


def rule(event):
    # AWS's own services read the policy all day; that tells nothing
    return event.get("eventName") in NAMES and not is_service(event)


def title(event):
    done = "looked up" if event.get("eventName").startswith("Get") else "changed"
    return f"{actor(event)} {done} the password policy of account {account(event)}"


def dedup(event):
    return f"{account(event)}:{principal(event)}"


def alert_context(event):
    return context(event, "errorCode")
