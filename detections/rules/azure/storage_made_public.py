from ingestd_azure import caller, carried_out, management_context, operation, request, resource
from ingestd_values import document, last


def rule(event):
    if operation(event) != "MICROSOFT.STORAGE/STORAGEACCOUNTS/WRITE" or not carried_out(event):
        return False
    return document(request(event).get("properties")).get("allowBlobPublicAccess") is True


def title(event):
    return f"{caller(event)} allowed public containers in the storage account {last(resource(event))}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return management_context(event, "properties")
