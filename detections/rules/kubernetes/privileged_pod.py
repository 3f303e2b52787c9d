from ingestd_kubernetes import context, refused, user
from ingestd_values import mappings, named

SYSTEM = {"amazon-cloudwatch", "amazon-guardduty", "calico-system", "kube-system"}


def rule(event):
    if event.get("verb") != "create" or event.deep_get("objectRef", "resource") != "pods":
        return False
    if event.deep_get("objectRef", "subresource") or event.deep_get("objectRef", "namespace") in SYSTEM:
        return False
    return bool(_freedoms(event)) and not refused(event)


def _freedoms(event):
    """What lets a pod out of its container, in words."""
    found = []
    for spec in mappings(event.deep_get("requestObject", "spec")):
        found += [name for name in ("hostPID", "hostIPC", "hostNetwork") if spec.get(name) is True]
        containers = [*mappings(spec.get("containers")), *mappings(spec.get("initContainers"))]
        contexts = [one for container in containers for one in mappings(container.get("securityContext"))]
        found += ["privileged"] if any(one.get("privileged") is True for one in contexts) else []
        paths = [
            str(one.get("path"))
            for volume in mappings(spec.get("volumes"))
            for one in mappings(volume.get("hostPath"))
        ]
        found += [f"the host's {path}" for path in paths if path in ("/", "/etc", "/root", "/var/run/docker.sock")]
    return found


def title(event):
    space = named(event.deep_get("objectRef", "namespace"))
    return f"{user(event)} started a pod in {space} that can leave its container: {', '.join(_freedoms(event)[:4])}"


def dedup(event):
    return f"{named(event.deep_get('objectRef', 'namespace'))}:{user(event)}"


def alert_context(event):
    return {"freedoms": _freedoms(event), **context(event)}
