from ingestd_aws import account, actor, context, succeeded

CALLS = {
    "access-analyzer.amazonaws.com": {"DeleteAnalyzer"},
    "config.amazonaws.com": {"DeleteConfigurationRecorder", "DeleteDeliveryChannel", "StopConfigurationRecorder"},
    "detective.amazonaws.com": {"DeleteGraph"},
    "inspector2.amazonaws.com": {"Disable"},
    "macie2.amazonaws.com": {"DisableMacie"},
    "securityhub.amazonaws.com": {"DisableSecurityHub", "DisassociateFromAdministratorAccount"},
}


def rule(event):
    if event.get("eventSource") not in CALLS or not succeeded(event):
        return False
    return event.get("eventName") in CALLS[event.get("eventSource")]


def title(event):
    service = event.get("eventSource").partition(".")[0]
    return f"{actor(event)} stopped {service} in account {account(event)}: {event.get('eventName')}"


def dedup(event):
    return f"{account(event)}:{event.get('eventSource')}"


def alert_context(event):
    return context(event, "requestParameters")
