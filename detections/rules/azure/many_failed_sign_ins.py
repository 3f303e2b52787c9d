from ingestd_azure import INTERRUPTED, SIGN_INS, address, result, sign_in_context, user


def rule(event):
    if event.get("category") not in SIGN_INS:
        return False
    code = result(event)
    return code not in ("0", "None", "") and code not in INTERRUPTED


def title(event):
    return f"Many failed sign-ins of {user(event)}, first from {address(event)}"


def dedup(event):
    return user(event).lower()


def alert_context(event):
    return sign_in_context(event)
