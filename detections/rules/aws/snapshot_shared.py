from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import mappings, named, texts

NAMES = {
    "ModifyDBClusterSnapshotAttribute",
    "ModifyDBSnapshotAttribute",
    "ModifyImageAttribute",
    "ModifySnapshotAttribute",
}


def rule(event):
    if event.get("eventName") not in NAMES or not succeeded(event):
        return False
    return any(name != account(event) for name in _shared_with(event))


def _shared_with(event):
    """Accounts, and `all`."""
    added = [
        *mappings(asked(event, "createVolumePermission", "add", "items")),
        *mappings(asked(event, "launchPermission", "add", "items")),
    ]
    names = texts([one.get("group") or one.get("userId") for one in added])
    return [*names, *texts(asked(event, "valuesToAdd"))]


def _snapshot(event):
    fields = ("snapshotId", "imageId", "dBSnapshotIdentifier", "dBClusterSnapshotIdentifier")
    return named(next(filter(None, (asked(event, field) for field in fields)), None))


def title(event):
    whom = "everyone" if "all" in _shared_with(event) else ", ".join(_shared_with(event)[:5])
    return f"{actor(event)} shared {_snapshot(event)} with {whom}"


def severity(event):
    return "CRITICAL" if "all" in _shared_with(event) else "DEFAULT"


def dedup(event):
    return f"{_snapshot(event)}:{severity(event)}"


def alert_context(event):
    return context(event, "requestParameters")
