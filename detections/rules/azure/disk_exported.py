from ingestd_azure import address, caller, carried_out, management_context, operation, resource
from ingestd_values import last

OPERATIONS = {
    "MICROSOFT.COMPUTE/DISKS/BEGINGETACCESS/ACTION",
    "MICROSOFT.COMPUTE/SNAPSHOTS/BEGINGETACCESS/ACTION",
}


def rule(event):
    return operation(event) in OPERATIONS and carried_out(event)


def title(event):
    return f"{caller(event)} asked for a link to download disk {last(resource(event))}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return {"address": address(event), **management_context(event)}
