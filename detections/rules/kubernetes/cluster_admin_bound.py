from ingestd_kubernetes import context, refused, user
from ingestd_values import document, mappings, named

VERBS = {"create", "patch", "update"}
BINDINGS = {"clusterrolebindings", "rolebindings"}
OF_THE_SYSTEM = ("eks:", "system:serviceaccount:kube-system:")


def rule(event):
    if event.get("verb") not in VERBS or event.deep_get("objectRef", "resource") not in BINDINGS:
        return False
    if refused(event) or user(event).startswith(OF_THE_SYSTEM):
        return False
    return document(event.deep_get("requestObject", "roleRef")).get("name") == "cluster-admin"


def _subjects(event):
    found = mappings(event.deep_get("requestObject", "subjects"))
    return [f"{named(one.get('kind'))} {named(one.get('name'))}" for one in found]


def title(event):
    return f"{user(event)} made {', '.join(_subjects(event)[:3]) or 'somebody'} administrator of the cluster"


def dedup(event):
    return f"{user(event)}:{named(event.deep_get('objectRef', 'name'))}"


def alert_context(event):
    return {"subjects": _subjects(event), **context(event)}
