from ingestd_azure import caller, carried_out, management_context, operation, resource

OPERATIONS = {
    "MICROSOFT.INSIGHTS/DIAGNOSTICSETTINGS/DELETE",
    "MICROSOFT.NETWORK/NETWORKWATCHERS/FLOWLOGS/DELETE",
    "MICROSOFT.OPERATIONALINSIGHTS/WORKSPACES/DELETE",
}


def rule(event):
    return operation(event) in OPERATIONS and carried_out(event)


def title(event):
    return f"{caller(event)} switched off records: {resource(event)}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return management_context(event)
