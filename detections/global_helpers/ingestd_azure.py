"""What several Azure rules ask of a record of Entra ID or of the activity log."""

from ingestd_values import document, mappings, named

SIGN_INS = frozenset({"SignInLogs", "NonInteractiveUserSignInLogs", "ServicePrincipalSignInLogs"})
INTERRUPTED = frozenset({
    "16000", "50055", "50058", "50072", "50074", "50076", "50078", "50079", "50097", "50125", "50127", "50129",
    "50140", "50143", "50144", "50158", "50199", "51006", "65001",
})  # fmt: skip
"""Results of a sign-in that goes on: the user was asked for a factor, for consent, or which account they meant."""

_CLAIMS = (
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "name",
    "appid",
)


def result(event):
    """The code of a sign-in's result as text; `0` is success."""
    code = event.deep_get("properties", "status", "errorCode")
    return str(event.get("resultType") if code is None else code)


def user(event):
    """Who signed in: a user, or a program."""
    fields = ("userPrincipalName", "userDisplayName", "servicePrincipalName", "servicePrincipalId")
    found = [event.deep_get("properties", field) for field in fields]
    return named(next(filter(None, found), event.get("identity")))


def address(event):
    """Where a record says it came from."""
    return named(event.deep_get("properties", "ipAddress") or event.get("callerIpAddress"))


def initiator(event):
    """Who changed something in the directory: a user or an application."""
    by = event.deep_get("properties", "initiatedBy") or {}
    for kind, fields in (("user", ("userPrincipalName", "id")), ("app", ("displayName", "appId"))):
        for one in mappings(by.get(kind)):
            if found := next(filter(None, (one.get(field) for field in fields)), None):
                return named(found)
    return named(event.get("identity"))


def was_done(event):
    """Whether a change of the directory was carried out."""
    return named(event.deep_get("properties", "result") or event.get("result")).lower() == "success"


def targets(event, *kinds):
    """What was changed, by the names it is known by; with kinds (`User`, `Role`), those alone."""
    found = mappings(event.deep_get("properties", "targetResources"))
    found = [one for one in found if not kinds or one.get("type") in kinds]
    return [named(one.get("userPrincipalName") or one.get("displayName") or one.get("id")) for one in found]


def new_values(event):
    """Name to new value of what was changed, without the quotes that Entra ID puts around texts."""
    found = {}
    for target in mappings(event.deep_get("properties", "targetResources")):
        for one in mappings(target.get("modifiedProperties")):
            found[str(one.get("displayName"))] = named(one.get("newValue")).strip('"')
    return found


def caller(event):
    """Who called Azure's management."""
    claims = document(event.deep_get("identity", "claims"))
    proof = document(event.deep_get("identity", "authorization", "evidence"))
    found = [*(claims.get(name) for name in _CLAIMS), event.get("caller"), proof.get("principalId")]
    return named(next(filter(None, found), None))


def operation(event):
    """The name of an operation in capitals, as Azure writes it in some places and not in others."""
    return event.get("operationName", "").upper()


def carried_out(event):
    """Whether an operation did not fail. One operation is told of when it starts and when it ends."""
    return not named(event.get("resultType")).upper().startswith("FAIL")


def request(event):
    """What was asked for."""
    return document(event.deep_get("properties", "requestbody"))


def resource(event):
    """The resource, one spelling for all its records."""
    return named(event.get("resourceId")).lower()


def management_context(event, *fields):
    """What an analyst looks at first in a record of the activity log."""
    chosen = ("operationName", "resultType", "callerIpAddress", "resourceId", "correlationId", *fields)
    return {"caller": caller(event), **{field: event.get(field) for field in chosen}}


def directory_context(event):
    """What an analyst looks at first in a change of the directory."""
    return {
        "initiator": initiator(event),
        "address": address(event),
        "operation": event.get("operationName"),
        "targets": targets(event),
        "new values": new_values(event),
    }


def sign_in_context(event):
    """What an analyst looks at first in a sign-in."""
    fields = (
        "userPrincipalName",
        "appDisplayName",
        "clientAppUsed",
        "ipAddress",
        "location",
        "deviceDetail",
        "status",
    )
    return {field: event.deep_get("properties", field) for field in fields}
