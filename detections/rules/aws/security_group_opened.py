from ingestd_aws import account, actor, asked, context, succeeded
from ingestd_network import EVERYWHERE, exposed
from ingestd_values import mappings, named


def rule(event):
    if event.get("eventName") != "AuthorizeSecurityGroupIngress" or not succeeded(event):
        return False
    return bool(_opened(event))


def _opened(event):
    """What is now open to the internet, by name."""
    found = []
    for permission in mappings(asked(event, "ipPermissions", "items")):
        if not _is_for_everyone(permission):
            continue
        if str(permission.get("ipProtocol")) == "-1":
            return ["every port"]
        found += exposed(permission.get("fromPort"), permission.get("toPort"))
    return list(dict.fromkeys(found))


def _is_for_everyone(permission):
    ranges = [
        one.get("cidrIp") or one.get("cidrIpv6")
        for field in ("ipRanges", "ipv6Ranges")
        for several in mappings(permission.get(field))
        for one in mappings(several.get("items"))
    ]
    return any(isinstance(one, str) and one in EVERYWHERE for one in ranges)


def title(event):
    where = f"{_group(event)} in account {account(event)}"
    return f"{actor(event)} opened {', '.join(_opened(event))} of {where} to the internet"


def dedup(event):
    return _group(event)


def alert_context(event):
    return {"opened": _opened(event), **context(event, "requestParameters")}


def _group(event):
    return named(asked(event, "groupId") or asked(event, "groupName"))
