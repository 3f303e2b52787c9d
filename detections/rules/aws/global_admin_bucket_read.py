from ingestd_aws import GLOBAL_ADMIN_ROLE
from ingestd_values import named


def rule(event):
    if not event.get("operation", "").startswith("REST.GET."):
        return False
    return f":assumed-role/{GLOBAL_ADMIN_ROLE}/" in named(event.get("requester"))


def title(event):
    who = event.get("requester").rpartition("/")[2]
    return f"{who} read from bucket {named(event.get('bucket'))} as {GLOBAL_ADMIN_ROLE}"


def dedup(event):
    return f"{named(event.get('bucket'))}:{event.get('requester')}"


def alert_context(event):
    fields = ("operation", "bucket", "key", "requester", "remoteip", "httpstatus", "useragent")
    return {field: event.get(field) for field in fields}
