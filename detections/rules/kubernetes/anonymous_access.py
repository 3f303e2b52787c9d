from ingestd_kubernetes import context
from ingestd_values import named

ANONYMOUS = {"system:anonymous", "system:unauthenticated"}
HARMLESS = ("/healthz", "/livez", "/readyz", "/version", "/.well-known/", "/openid/")
SUCCESS = range(200, 300)


def rule(event):
    if event.deep_get("user", "username") not in ANONYMOUS:
        return False
    if event.deep_get("responseStatus", "code") not in SUCCESS:
        return False
    return not named(event.get("requestURI")).startswith(HARMLESS)


def title(event):
    return f"Somebody without a name was let into the cluster: {named(event.get('verb'))} {_path(event)}"


def _path(event):
    return named(event.get("requestURI")).partition("?")[0]


def dedup(event):
    return _path(event)


def alert_context(event):
    return context(event, "requestURI")
