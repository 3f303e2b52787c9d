from ingestd_azure import SIGN_INS, address, result, user
from ingestd_values import named

WRONG_IN_ENTRA = {"50034", "50053", "50056", "50126"}


def rule(event):
    return _failed(event) and _source(event) != "<unknown>"


def _failed(event):
    if event.get("eventName") == "ConsoleLogin":
        return event.deep_get("responseElements", "ConsoleLogin") == "Failure"
    if event.get("category") in SIGN_INS:
        return result(event) in WRONG_IN_ENTRA
    return event.get("eventType") == "user.session.start" and event.deep_get("outcome", "result") == "FAILURE"


def unique(event):
    """Whose password was tried: the threshold counts accounts, not attempts."""
    if event.get("eventName") == "ConsoleLogin":
        return named(event.deep_get("userIdentity", "userName")).lower()
    if event.get("category") in SIGN_INS:
        return user(event).lower()
    return named(event.deep_get("actor", "alternateId")).lower()


def _source(event):
    if event.get("eventName") == "ConsoleLogin":
        return named(event.get("sourceIPAddress"))
    if event.get("category") in SIGN_INS:
        return address(event)
    return named(event.deep_get("client", "ipAddress"))


def title(event):
    return f"Passwords of many accounts are tried from {_source(event)}"


def dedup(event):
    return _source(event)


def alert_context(event):
    return {"address": _source(event), "account": unique(event), "log type": event.get("p_log_type")}
