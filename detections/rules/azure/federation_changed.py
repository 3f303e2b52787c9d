from ingestd_azure import directory_context, initiator, targets, was_done

OPERATIONS = {"Set domain authentication", "Set federation settings on domain"}


def rule(event):
    return event.get("operationName") in OPERATIONS and was_done(event)


def _domain(event):
    return next(iter(targets(event)), "<unknown>")


def title(event):
    return f"{initiator(event)} changed who vouches for the users of {_domain(event)}"


def dedup(event):
    return _domain(event)


def alert_context(event):
    return directory_context(event)
