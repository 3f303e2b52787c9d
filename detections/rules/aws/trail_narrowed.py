from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_values import mappings, named, texts


def rule(event):
    if event.get("eventSource") != "cloudtrail.amazonaws.com" or not succeeded(event):
        return False
    if event.get("eventName") == "UpdateTrail":
        return asked(event, "isMultiRegionTrail") is False or asked(event, "includeGlobalServiceEvents") is False
    return event.get("eventName") == "PutEventSelectors" and not _records_changes(event)


def _records_changes(event):
    """Whether calls that change something are still recorded after this."""
    basic = any(
        selector.get("includeManagementEvents") is not False and selector.get("readWriteType") != "ReadOnly"
        for selector in mappings(asked(event, "eventSelectors"))
    )
    return basic or any(_is_management(selector) for selector in mappings(asked(event, "advancedEventSelectors")))


def _is_management(selector):
    fields = {str(one.get("field")): texts(one.get("equals")) for one in mappings(selector.get("fieldSelectors"))}
    return "Management" in fields.get("eventCategory", []) and "true" not in fields.get("readOnly", [])


def title(event):
    return f"{actor(event)} made trail {_trail(event)} record less"


def dedup(event):
    return f"{account(event)}:{_trail(event)}"


def alert_context(event):
    return context(event, "requestParameters")


def _trail(event):
    return named(asked(event, "name") or asked(event, "trailName"))
