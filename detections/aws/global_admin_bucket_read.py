from ingestd_aws import GLOBAL_ADMIN_ROLE


def rule(event):
    if event.get("operation") != "REST.GET.OBJECT":
        return False
    return f":assumed-role/{GLOBAL_ADMIN_ROLE}/" in (event.get("requester") or "")


def title(event):
    return f"{GLOBAL_ADMIN_ROLE} read from bucket {event.get('bucket')}"


def dedup(event):
    return f"{event.get('bucket')}:{event.get('requester')}"


def alert_context(event):
    fields = ("bucket", "key", "requester", "remoteip", "httpstatus", "useragent")
    return {field: event.get(field) for field in fields}
