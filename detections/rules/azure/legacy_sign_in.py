from ingestd_azure import SIGN_INS, address, result, sign_in_context, user

PROTOCOLS = {
    "Authenticated SMTP",
    "Exchange ActiveSync",
    "IMAP4",
    "IMAP",
    "MAPI Over HTTP",
    "Other clients",
    "POP3",
    "POP",
    "SMTP",
}


def rule(event):
    if event.get("category") not in SIGN_INS:
        return False
    return event.deep_get("properties", "clientAppUsed") in PROTOCOLS and result(event) == "0"


def title(event):
    return f"{user(event)} signed in from {address(event)} by {event.deep_get('properties', 'clientAppUsed')}"


def dedup(event):
    return user(event).lower()


def alert_context(event):
    return sign_in_context(event)
