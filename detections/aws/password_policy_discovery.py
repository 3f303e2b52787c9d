from ingestd_aws import actor, context

NAMES = {"GetAccountPasswordPolicy", "UpdateAccountPasswordPolicy", "PutAccountPasswordPolicy"}


def rule(event):
    if event.get("eventName") not in NAMES:
        return False
    # AWS's own services read the policy all day; that tells nothing
    return event.get("eventType") != "AwsServiceEvent" and event.deep_get("userIdentity", "type") != "AWSService"


def title(event):
    return f"Password policy of account {event.get('recipientAccountId')} looked up by {actor(event)}"


def dedup(event):
    return actor(event)


def alert_context(event):
    return context(event)
