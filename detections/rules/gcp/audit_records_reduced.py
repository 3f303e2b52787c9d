from ingestd_gcp import actor, context, resource, succeeded
from ingestd_values import mappings, named


def rule(event):
    if event.deep_get("protoPayload", "serviceData") is None or not succeeded(event):
        return False
    return bool(_removed(event))


def _removed(event):
    """The records that are no longer made: service and kind; exemptions with whom they are for."""
    deltas = mappings(event.deep_get("protoPayload", "serviceData", "policyDelta", "auditConfigDeltas"))
    return [
        " ".join(named(one[key]) for key in ("service", "logType", "exemptedMember") if one.get(key))
        for one in deltas
        if (one.get("action") == "REMOVE") != bool(one.get("exemptedMember"))
    ]


def title(event):
    return f"{actor(event)} switched off audit records of {resource(event)}: {', '.join(_removed(event)[:3])}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return {"removed": _removed(event), **context(event)}
