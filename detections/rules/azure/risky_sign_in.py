from ingestd_azure import SIGN_INS, address, result, sign_in_context, user


def rule(event):
    if event.get("category") not in SIGN_INS or event.deep_get("properties", "riskLevelDuringSignIn") != "high":
        return False
    return result(event) == "0"


def title(event):
    return f"{user(event)} signed in from {address(event)} at high risk"


def dedup(event):
    return user(event).lower()


def alert_context(event):
    return {**sign_in_context(event), "risks": event.deep_get("properties", "riskEventTypes_v2")}
