from ingestd_network import is_public

PORTS = {22: "SSH", 3389: "RDP", 5900: "VNC", 5985: "WinRM"}


def rule(event):
    if event.get("action") != "ACCEPT" or event.get("dstPort") not in PORTS:
        return False
    return is_public(event.get("srcAddr")) and not is_public(event.get("dstAddr"))


def title(event):
    return f"{PORTS[event.get('dstPort')]} on {event.get('dstAddr')} answers the internet"


def dedup(event):
    return f"{event.get('dstAddr')}:{event.get('dstPort')}"


def alert_context(event):
    return {field: event.get(field) for field in ("srcAddr", "dstAddr", "dstPort", "interfaceId", "account")}
