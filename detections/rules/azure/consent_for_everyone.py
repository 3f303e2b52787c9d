from ingestd_azure import directory_context, initiator, new_values, targets, was_done


def rule(event):
    if event.get("operationName") != "Consent to application" or not was_done(event):
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
