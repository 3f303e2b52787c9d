from ingestd_azure import changed, directory_context, initiator, new_values, targets


def rule(event):
    if not changed(event, "Consent to application"):
        return False
    return new_values(event).get("ConsentContext.IsAdminConsent", "").lower() == "true"


def _application(event):
    return next(iter(targets(event)), "<unknown>")


def title(event):
    return f"{initiator(event)} consented for everyone to the application {_application(event)}"


def dedup(event):
    return _application(event)


def alert_context(event):
    return directory_context(event)
