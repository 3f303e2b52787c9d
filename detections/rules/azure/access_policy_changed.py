from ingestd_azure import directory_context, initiator, targets, was_done

OPERATIONS = {
    "Delete conditional access policy": "deleted",
    "Update conditional access policy": "changed",
}


def rule(event):
    return event.get("operationName") in OPERATIONS and was_done(event)


def _policy(event):
    return next(iter(targets(event)), "<unknown>")


def title(event):
    return f"{initiator(event)} {OPERATIONS[event.get('operationName')]} the access policy {_policy(event)}"


def severity(event):
    return "HIGH" if event.get("operationName").startswith("Delete") else "DEFAULT"


def dedup(event):
    return f"{_policy(event)}:{event.get('operationName')}"


def alert_context(event):
    return directory_context(event)
