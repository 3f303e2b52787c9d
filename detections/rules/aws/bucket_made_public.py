from ingestd_aws import account, actor, allowing, asked, context, for_everyone, succeeded
from ingestd_values import mappings, named, texts

GROUPS = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
CANNED = {"public-read", "public-read-write", "authenticated-read"}


def rule(event):
    if event.get("eventSource") != "s3.amazonaws.com" or not succeeded(event):
        return False
    if event.get("eventName") == "PutBucketPolicy":
        return any(for_everyone(statement) for statement in allowing(asked(event, "bucketPolicy")))
    return event.get("eventName") == "PutBucketAcl" and (_canned(event) or _granted(event))


def _canned(event):
    return any(name in CANNED for name in texts(asked(event, "x-amz-acl")))


def _granted(event):
    grants = mappings(asked(event, "AccessControlPolicy", "AccessControlList", "Grant"))
    grantees = [one for grant in grants for one in mappings(grant.get("Grantee"))]
    return any(str(grantee.get("URI")).endswith(GROUPS) for grantee in grantees)


def title(event):
    return f"{actor(event)} opened bucket {_bucket(event)} to everyone"


def dedup(event):
    return _bucket(event)


def alert_context(event):
    return {"account": account(event), **context(event, "requestParameters")}


def _bucket(event):
    return named(asked(event, "bucketName"))
