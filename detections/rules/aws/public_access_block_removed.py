from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import named

DELETED = {"DeleteBucketPublicAccessBlock", "DeleteAccountPublicAccessBlock"}
CHANGED = {"PutBucketPublicAccessBlock", "PutAccountPublicAccessBlock"}
SETTINGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def rule(event):
    if event.get("eventSource") not in ("s3.amazonaws.com", "s3control.amazonaws.com") or not succeeded(event):
        return False
    if event.get("eventName") in DELETED:
        return True
    return event.get("eventName") in CHANGED and any(_is_off(event, name) for name in SETTINGS)


def _is_off(event, name):
    return asked(event, "PublicAccessBlockConfiguration", name) in (False, "false")


def _what(event):
    bucket = asked(event, "bucketName")
    return named(bucket) if bucket else f"account {account(event)}"


def title(event):
    return f"{actor(event)} removed the block on public access of {_what(event)}"


def severity(event):
    return "HIGH" if "Account" in event.get("eventName") else "DEFAULT"


def dedup(event):
    return _what(event)


def alert_context(event):
    return context(event, "requestParameters")
