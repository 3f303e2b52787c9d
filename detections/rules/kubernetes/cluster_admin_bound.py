from ingestd_values import document, mappings, named

VERBS = {"create", "patch", "update"}
BINDINGS = {"clusterrolebindings", "rolebindings"}


def rule(event):
    if event.get("verb") not in VERBS or event.deep_get("objectRef", "resource") not in BINDINGS:
        return False
    if event.deep_get("annotations", "authorization.k8s.io/decision") == "forbid":
        return False
    return document(event.deep_get("requestObject", "roleRef")).get("name") == "cluster-admin"


def _subjects(event):
    found = mappings(event.deep_get("requestObject", "subjects"))
    return [f"{named(one.get('kind'))} {named(one.get('name'))}" for one in found]


def _who(event):
    return named(event.deep_get("user", "username"))


def title(event):
    return f"{_who(event)} made {', '.join(_subjects(event)[:3]) or 'somebody'} administrator of the cluster"


def dedup(event):
    return f"{_who(event)}:{named(event.deep_get('objectRef', 'name'))}"


def alert_context(event):
    fields = ("user", "sourceIPs", "userAgent", "objectRef")
    return {"subjects": _subjects(event), **{field: event.get(field) for field in fields}}
