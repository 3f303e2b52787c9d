"""What several rules ask of an entry of Google Cloud's audit logs."""

from ingestd_values import mappings, named, number


def method(event):
    """The method that was called."""
    return named(event.deep_get("protoPayload", "methodName"))


def actor(event):
    """Who called it."""
    who = event.deep_get("protoPayload", "authenticationInfo") or {}
    return named(who.get("principalEmail") or who.get("principalSubject"))


def succeeded(event):
    """Whether the call went through. A long operation has two entries, at its beginning and its end."""
    return not number(event.deep_get("protoPayload", "status", "code"))


def resource(event):
    """What was called upon."""
    return named(event.deep_get("protoPayload", "resourceName"))


def asked(event, *path):
    """A parameter of the call."""
    return event.deep_get("protoPayload", "request", *path)


def added(event):
    """The bindings of a policy that were added: mappings of `role` and `member`."""
    deltas = mappings(event.deep_get("protoPayload", "serviceData", "policyDelta", "bindingDeltas"))
    return [delta for delta in deltas if delta.get("action") == "ADD"]


def where(event):
    """The organisation, folder or project whose log this is: `projects/p`."""
    return named(event.get("logName")).partition("/logs/")[0]


def context(event, *fields):
    """What an analyst looks at first, with those fields of the payload."""
    payload = event.get("protoPayload") or {}
    return {
        "actor": actor(event),
        "address": event.deep_get("protoPayload", "requestMetadata", "callerIp"),
        "method": method(event),
        "resource": resource(event),
        "where": where(event),
        **{field: payload.get(field) for field in fields},
    }
