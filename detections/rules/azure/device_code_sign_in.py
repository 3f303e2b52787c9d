from ingestd_azure import SIGN_INS, address, result, sign_in_context, user


def rule(event):
    if event.get("category") not in SIGN_INS or event.deep_get("properties", "isInteractive") is False:
        return False
    return event.deep_get("properties", "authenticationProtocol") == "deviceCode" and result(event) == "0"


def title(event):
    return f"{user(event)} let a device at {address(event)} in by a code"


def dedup(event):
    return user(event).lower()


def alert_context(event):
    return sign_in_context(event)
