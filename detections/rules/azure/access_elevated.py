from ingestd_azure import caller, carried_out, management_context, operation


def rule(event):
    return operation(event) == "MICROSOFT.AUTHORIZATION/ELEVATEACCESS/ACTION" and carried_out(event)


def title(event):
    return f"{caller(event)} took control of all subscriptions of the tenant"


def dedup(event):
    return caller(event)


def alert_context(event):
    return management_context(event)
