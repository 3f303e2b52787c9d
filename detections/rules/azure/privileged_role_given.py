from ingestd_azure import directory_context, initiator, new_values, targets, was_done

OPERATIONS = ("Add eligible member to role", "Add member to role")
UNDECIDED = ("canceled", "denied", "expired", "requested")
WHO = ("Group", "ServicePrincipal", "User")
ROLES = {
    "Application Administrator",
    "Authentication Administrator",
    "Cloud Application Administrator",
    "Company Administrator",
    "Conditional Access Administrator",
    "Domain Name Administrator",
    "Exchange Administrator",
    "Global Administrator",
    "Hybrid Identity Administrator",
    "Privileged Authentication Administrator",
    "Privileged Role Administrator",
    "Security Administrator",
    "User Administrator",
}
FIRST = {"Company Administrator", "Global Administrator", "Privileged Role Administrator"}


def rule(event):
    name = event.get("operationName", "")
    if not name.startswith(OPERATIONS) or any(word in name for word in UNDECIDED):
        return False
    return was_done(event) and _role(event) in ROLES


def _role(event):
    """The role's name: a changed property of the user, or a target of its own."""
    named_here = new_values(event).get("Role.DisplayName")
    return named_here or next((name for name in targets(event) if name in ROLES), "")


def _whom(event):
    return next(iter(targets(event, *WHO)), "<unknown>")


def title(event):
    return f"{initiator(event)} gave {_whom(event)} the role {_role(event)}"


def severity(event):
    return "HIGH" if _role(event) in FIRST else "DEFAULT"


def dedup(event):
    return f"{_whom(event)}:{_role(event)}"


def alert_context(event):
    return directory_context(event)
