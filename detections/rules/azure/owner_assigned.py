from ingestd_azure import caller, carried_out, management_context, operation, request, resource
from ingestd_values import document, last, named

ROLES = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
}


def rule(event):
    if operation(event) != "MICROSOFT.AUTHORIZATION/ROLEASSIGNMENTS/WRITE" or not carried_out(event):
        return False
    return _role(event) is not None


def _asked(event):
    """What was asked for, under whichever spelling the caller's library uses."""
    body = request(event)
    return {
        str(name).lower(): value for name, value in document(body.get("properties") or body.get("Properties")).items()
    }


def _role(event):
    return ROLES.get(last(_asked(event).get("roledefinitionid")).lower())


def _scope(event):
    return resource(event).partition("/providers/microsoft.authorization/")[0] or "the root"


def title(event):
    return f"{caller(event)} made {named(_asked(event).get('principalid'))} {_role(event)} of {_scope(event)}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return management_context(event, "properties")
