from ipaddress import ip_address

PORTS = {22: "SSH", 3389: "RDP", 5900: "VNC"}


def rule(event):
    if event.get("action") != "ACCEPT" or event.get("dstPort") not in PORTS:
        return False
    try:
        return ip_address(event.get("srcAddr")).is_global and not ip_address(event.get("dstAddr")).is_global
    except ValueError:
        return False


def title(event):
    return f"{PORTS[event.get('dstPort')]} on {event.get('dstAddr')} answers the internet"


def dedup(event):
    return f"{event.get('dstAddr')}:{event.get('dstPort')}"


def alert_context(event):
    return {field: event.get(field) for field in ("srcAddr", "dstAddr", "dstPort", "interfaceId", "account")}
