"""A hundred rules in the public format, like those people write.

Ninety name an event, and the names follow the traffic: an event name that makes a tenth of the events has a tenth
of these rules. Ten look at every event. About 2 % of the events match.
"""

from __future__ import annotations

import random
from pathlib import Path

from bench.generate import ACCOUNT, ERRORS, NAMES, REGIONS

GUARDED = 90

_HEAD = """
def title(event):
    return f"{event.get('eventName')} by {event.deep_get('userIdentity', 'arn', default='?')}"


def dedup(event):
    return event.deep_get("userIdentity", "principalId", default="?")


def alert_context(event):
    return {
        "eventName": event.get("eventName"),
        "sourceIPAddress": event.get("sourceIPAddress"),
        "userAgent": event.get("userAgent"),
        "parameters": event.get("requestParameters"),
    }
"""

_GUARDED = (
    """
def rule(event):
    return (
        event.get("eventName") == "{name}"
        and event.get("errorCode") in ("{first}", "{second}")
        and event.get("awsRegion") in ("{here}", "{there}")
    )
""",
    """
def rule(event):
    if event.get("eventSource") != "{source}" or event.get("eventName") != "{name}":
        return False
    if event.get("errorCode", "") not in ["{first}", "{second}"]:
        return False
    return event.get("awsRegion") == "{here}" or event.get("awsRegion") == "{there}"
""",
    """
WATCHED = {{"{name}", "{name}Batch"}}


def rule(event):
    if event.get("eventName") not in WATCHED:
        return False
    if event.deep_get("userIdentity", "type") == "AWSService":
        return False
    failed = event.get("errorCode") in {{"{first}", "{second}"}}
    return failed and event.get("awsRegion") in {{"{here}", "{there}"}}
""",
)

_UNGUARDED = (
    'return event.deep_get("userIdentity", "type") == "Root" and not event.deep_get("userIdentity", "invokedBy")',
    'return "not authorized" in event.get("errorMessage", "") and event.get("eventSource") == "sts.amazonaws.com"',
    'return any(agent in event.get("userAgent", "").lower() for agent in ("kali", "parrot", "pentoo"))',
    'return event.get("sourceIPAddress") in {"198.51.100.7", "203.0.113.99"}',
    f'return event.get("recipientAccountId", "{ACCOUNT}") != "{ACCOUNT}"',
    'return any("secret" in (one.get("ARN") or "") for one in event.get("resources") or [])',
    'return event.deep_get("userIdentity", "sessionContext", "attributes", "mfaAuthenticated") == "true"',
    'return event.get("awsRegion", "").startswith(("cn-", "us-gov-"))',
    'return "root" in event.deep_walk("requestParameters", "userName", default="")',
    'return "203.0.113.99" in (event.get("p_any_ip_addresses") or [])',
)

_YAML = """AnalysisType: rule
RuleID: {rule_id}
DisplayName: Bench {rule_id}
Filename: {module}.py
Enabled: true
Severity: Medium
LogTypes: [AWS.CloudTrail]
DedupPeriodMinutes: 60
Threshold: 1
"""


def write_rules(folder: Path) -> list[str]:
    """Write all rules into `folder`; their ids, which are also the names of the modules."""
    draw = random.Random(11)
    weights = [1 / (rank + 1) for rank in range(len(NAMES))]
    bodies = []
    for number in range(GUARDED):
        service, name, _ = draw.choices(NAMES, weights)[0]
        first, second = draw.sample(ERRORS, 2)
        here, there = draw.sample(REGIONS, 2)
        about = {"name": name, "source": f"{service}.amazonaws.com", "first": first, "second": second}
        bodies.append(_GUARDED[number % len(_GUARDED)].format(**about, here=here, there=there))
    bodies += [f"\ndef rule(event):\n    {body}\n" for body in _UNGUARDED]
    names = [f"bench_rule_{number:03d}" for number in range(len(bodies))]
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in zip(names, bodies, strict=True):
        (folder / f"{name}.py").write_text(body + "\n" + _HEAD)
        (folder / f"{name}.yml").write_text(_YAML.format(rule_id=name, module=name))
    return names
