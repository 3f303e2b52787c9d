from ingestd_values import named


def rule(event):
    if event.get("operation") != "REST.GET.BUCKET" or event.get("requester"):
        return False
    return event.get("httpstatus") == 200


def title(event):
    return f"Somebody without a name listed bucket {named(event.get('bucket'))}"


def dedup(event):
    return named(event.get("bucket"))


def alert_context(event):
    fields = ("bucket", "remoteip", "requesturi", "useragent", "referrer")
    return {field: event.get(field) for field in fields}
