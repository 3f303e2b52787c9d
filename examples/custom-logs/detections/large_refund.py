def rule(event):
    return event.get("action") == "refund" and event.get("total", 0) >= 500


def title(event):
    return f"{event.get('customer')} was refunded {event.get('total')}"
