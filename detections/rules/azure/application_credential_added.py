from ingestd_azure import directory_context, initiator, targets, was_done

MARKS = ("Certificates and secrets management", "Add service principal credentials")


def rule(event):
    name = event.get("operationName", "")
    return any(mark in name for mark in MARKS) and was_done(event)


def _application(event):
    return next(iter(targets(event)), "<unknown>")


def title(event):
    return f"{initiator(event)} gave the application {_application(event)} another credential"


def dedup(event):
    return _application(event)


def alert_context(event):
    return directory_context(event)
