from ingestd_azure import caller, carried_out, management_context, operation, resource
from ingestd_values import last

OPERATIONS = {
    "MICROSOFT.KEYVAULT/VAULTS/DELETE": "deleted",
    "MICROSOFT.KEYVAULT/LOCATIONS/DELETEDVAULTS/PURGE/ACTION": "purged",
}


def rule(event):
    return operation(event) in OPERATIONS and carried_out(event)


def _vault(event):
    return last(resource(event).removesuffix("/purge"))


def title(event):
    return f"{caller(event)} {OPERATIONS[operation(event)]} the key vault {_vault(event)}"


def severity(event):
    return "HIGH" if OPERATIONS[operation(event)] == "purged" else "DEFAULT"


def dedup(event):
    return f"{_vault(event)}:{OPERATIONS[operation(event)]}"


def alert_context(event):
    return management_context(event)
