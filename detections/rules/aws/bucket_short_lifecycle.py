from ingestd_aws import actor, asked, context, succeeded
from ingestd_values import mappings, named, number

MOST_DAYS = 3
WHOLE_BUCKET = (None, "", "*")
KEEPS_LOGS = ("trail", "log", "audit", "backup")


def rule(event):
    if event.get("eventName") != "PutBucketLifecycle" or not succeeded(event):
        return False
    return any(_empties(one) for one in mappings(asked(event, "LifecycleConfiguration", "Rule")))


def _empties(one):
    """Whether a lifecycle rule deletes whatever is in the bucket within days."""
    if one.get("Status") != "Enabled":
        return False
    spans = [number(each.get("Days")) for each in mappings(one.get("Expiration"))]
    prefixes = [one.get("Prefix"), *(each.get("Prefix") for each in mappings(one.get("Filter")))]
    return any(days is not None and days <= MOST_DAYS for days in spans) and all(
        prefix in WHOLE_BUCKET for prefix in prefixes
    )


def title(event):
    return f"{actor(event)} lets bucket {_bucket(event)} empty itself within days"


def severity(event):
    return "HIGH" if any(word in _bucket(event).lower() for word in KEEPS_LOGS) else "DEFAULT"


def dedup(event):
    return _bucket(event)


def alert_context(event):
    return context(event, "requestParameters")


def _bucket(event):
    return named(asked(event, "bucketName"))
