from ingestd_azure import caller, carried_out, directory_context, initiator, management_context, operation, was_done

IN_THE_DIRECTORY = "User has elevated their access to User Access Administrator"


def rule(event):
    if event.get("operationName", "").startswith(IN_THE_DIRECTORY):
        return was_done(event)
    return operation(event) == "MICROSOFT.AUTHORIZATION/ELEVATEACCESS/ACTION" and carried_out(event)


def _is_of_the_directory(event):
    return event.get("operationName").startswith(IN_THE_DIRECTORY)


def _who(event):
    return initiator(event) if _is_of_the_directory(event) else caller(event)


def title(event):
    return f"{_who(event)} took control of all subscriptions of the tenant"


def dedup(event):
    return _who(event)


def alert_context(event):
    return directory_context(event) if _is_of_the_directory(event) else management_context(event)
