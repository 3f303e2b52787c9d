from ingestd_aws import account, actor, asked, context, succeeded

NAMES = {
    "DeleteDetector",
    "DeleteMembers",
    "DisassociateFromAdministratorAccount",
    "DisassociateFromMasterAccount",
    "DisassociateMembers",
    "StopMonitoringMembers",
}


def rule(event):
    if event.get("eventSource") != "guardduty.amazonaws.com" or not succeeded(event):
        return False
    if event.get("eventName") == "UpdateDetector":
        return asked(event, "enable") is False
    return event.get("eventName") in NAMES


def title(event):
    return f"{actor(event)} took GuardDuty's eyes off account {account(event)}: {event.get('eventName')}"


def dedup(event):
    return account(event)


def alert_context(event):
    return context(event, "requestParameters")
