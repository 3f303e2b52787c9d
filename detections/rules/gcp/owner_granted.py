from ingestd_gcp import actor, added, context, resource, succeeded
from ingestd_values import named

ROLES = {
    "roles/iam.organizationRoleAdmin",
    "roles/iam.securityAdmin",
    "roles/owner",
    "roles/resourcemanager.folderAdmin",
    "roles/resourcemanager.organizationAdmin",
    "roles/resourcemanager.projectIamAdmin",
}


def rule(event):
    if not event.deep_get("protoPayload", "methodName", default="").endswith("SetIamPolicy") or not succeeded(event):
        return False
    return bool(_granted(event))


def _granted(event):
    """Role and member of what was granted, as text."""
    return [
        f"{one.get('role')} to {named(one.get('member'))}" for one in added(event) if named(one.get("role")) in ROLES
    ]


def title(event):
    return f"{actor(event)} granted {', '.join(_granted(event)[:3])} on {resource(event)}"


def dedup(event):
    return f"{actor(event)}:{resource(event)}"


def alert_context(event):
    return {"granted": _granted(event), **context(event)}
