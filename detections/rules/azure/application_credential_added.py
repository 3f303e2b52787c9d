from ingestd_azure import directory_context, initiator, targets

MARKS = ("Certificates and secrets management", "Add service principal credentials")


def rule(event):
    if event.get("category") != "AuditLogs" or event.deep_get("properties", "result") != "success":
        return False
    return any(mark in event.get("operationName", "") for mark in MARKS)


def _application(event):
    return next(iter(targets(event)), "<unknown>")


def title(event):
    return f"{initiator(event)} gave the application {_application(event)} another credential"


def dedup(event):
    return _application(event)


def alert_context(event):
    return directory_context(event)
