"""Rules say of what a schema makes of a log what they say of the log itself, over all tests of public detections.

python -m tests.schemas.test_public_corpus     prints the counts per log type, and every exception
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import pytest

from ingestd.detections.testing.case import run_test
from ingestd.schemas import Registry, Rejected, SessionInfo, spec
from ingestd.schemas.coerce import Misfit
from tests.schemas import public_corpus

LEAST_TYPED = 0.95

# Logs that no producer ever wrote: (log type, detection) → the reason of the reject. Their authors cut them down to
# what one rule reads, blacked values out, or misremembered them.
CUT_DOWN = {
    ("AWS.ALB", "Standard.OTX.MaliciousIndicator"): "type: required",
    ("AWS.CloudTrail", "Standard.GreyNoiseV3.MaliciousIP"): "eventName: required",
    ("AWS.CloudTrail", "Standard.ImpossibleTravel.Login"): "eventName: required",
    ("AWS.CloudTrail", "Standard.OTX.MaliciousIndicator"): "eventName: required",
    ("Cloudflare.HttpRequest", "Standard.GreyNoiseV3.MaliciousIP"): "ClientIP: required",
    ("Cloudflare.HttpRequest", "Standard.OTX.MaliciousIndicator"): "ClientIP: required",
    ("Crowdstrike.EventStreams", "Crowdstrike.EppDetectionSummary"): "event: required",
    ("Crowdstrike.FDREvent", "Connection.to.Embargoed.Country"): "cid: required",
    ("Crowdstrike.FDREvent", "Standard.MaliciousSSODNSLookup"): "cid: required",
    ("Crowdstrike.FDREvent", "Standard.OTX.MaliciousIndicator"): "cid: required",
    ("GCP.AuditLog", "GCP.Firewall.Rule.Created"): "protoPayload: required",
    ("GCP.AuditLog", "GCP.Firewall.Rule.Deleted"): "protoPayload: required",
    ("GCP.AuditLog", "GCP.Firewall.Rule.Modified"): "protoPayload: required",
    ("GCP.AuditLog", "GCP.K8s.IOC.Activity"): "protoPayload: required",
    ("GSuite.ActivityEvent", "Standard.GreyNoiseV3.MaliciousIP"): "id: required",
    ("GSuite.ActivityEvent", "Standard.OTX.MaliciousIndicator"): "id: required",
    ("Okta.SystemLog", "Standard.GreyNoiseV3.MaliciousIP"): "eventType: required",
    ("Okta.SystemLog", "Standard.OTX.MaliciousIndicator"): "eventType: required",
}
BLACKED_OUT = {
    ("AWS.CloudTrail", "AWS.Root.Activity"): "eventTime: 'redacted'",
    ("AWS.CloudTrail", "Sign-in.with.AWS.CLI.prompt"): "eventTime: '...'",
    ("GCP.AuditLog", "GCP.Cloud.Run.Service.Created"): "resource: expected object, found '...'",
    ("GCP.AuditLog", "GCP.Cloud.Run.Set.IAM.Policy"): "resource: expected object, found '...'",
    ("GCP.AuditLog", "GCP.compute.instances.create.Privilege.Escalation"): "'...'",
    ("Okta.SystemLog", "Okta.PotentiallyStolenSession"): "published: 'redacted'",
}
MISREMEMBERED = {
    ("AWS.CloudTrail", "AWS.EC2.ManyPasswordReadAttempts"): "resources[]: expected object, found string",
    ("AWS.VPCDns", "AWS.DNS.Crypto.Domain"): "answers: expected array, found object",
    ("Azure.Audit", "Azure.Audit.LegacyAuth"): "authenticationStepDateTime: '2023-01-11T11:11:11' is not a time",
    ("Azure.MonitorActivity", "Azure.MonitorActivity.RoleAssignment.PrivilegedOrElevated"): "operationName: expected",
    ("GCP.AuditLog", "GCP.Privilege.Escalation.By.Deployments.Create"): "granted: expected boolean",
    ("GitHub.Audit", "GitHub.Repo.RulesetModified"): "created_at: '2024-12-17 00:00:00000000'",
    ("Gravitational.TeleportAudit", "Teleport.RoleCreated"): "time: '2023-09-20T23:00:000.000000Z'",
}
EXCEPTIONS = CUT_DOWN | BLACKED_OUT | MISREMEMBERED


class Outcome(NamedTuple):
    """What became of one log."""

    sample: public_corpus.Sample
    on_raw: Any
    """Verdict on the log itself."""
    on_event: Any
    refused: str
    leaves: int
    """Values in the log."""
    untyped: int
    """Those of them that no declared field took."""
    free: int
    """Those in fields of type `json`."""


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    if isinstance(value, list):
        return sum(map(_leaves, value))
    return value is not None


def _free(value: Any, said: spec.Value) -> int:
    if value is None:
        return 0
    if said.kind == "json":
        return _leaves(value)
    if said.kind == "array" and said.element is not None:
        return sum(_free(item, said.element) for item in value)
    return sum(_free(value.get(field.name), field.value) for field in said.fields)


def _event(registry: Registry, log_type: str, record: dict[str, Any], *, keep: bool) -> dict[str, Any] | str:
    """The record as an event of the log type, or why it is none."""
    kind = registry.get(log_type)
    if kind.schema.is_text:  # the corpus has the fields, not the line
        try:
            kind.apply(record, keep)
        except Misfit as misfit:
            return str(misfit)
        return record
    session = registry.classifier((log_type,)).session(SessionInfo(identity="corpus", keep_unknown=keep))
    read = session.read(orjson.dumps(record, default=str), 0)
    assert isinstance(read, (dict, Rejected)), "one event for each record"
    return read.detail if isinstance(read, Rejected) else read


def _outcome(registry: Registry, sample: public_corpus.Sample) -> Outcome:
    models = public_corpus.detections().data_models
    raw = run_test(sample.runnable, sample.test, sample.number, models)
    plain = orjson.loads(orjson.dumps(sample.record, default=str))
    whole = _event(registry, sample.log_type, orjson.loads(orjson.dumps(plain)), keep=True)
    event = _event(registry, sample.log_type, orjson.loads(orjson.dumps(plain)), keep=False)
    if isinstance(event, str) or isinstance(whole, str):
        return Outcome(sample, raw.actual, None, str(event), 0, 0, 0)
    standard = {key: value for key, value in sample.test["Log"].items() if key.startswith("p_")}
    log = {**event, **standard, "p_log_type": sample.log_type}
    test = {**sample.test, "Log": log}
    fields = registry.schema(sample.log_type).fields
    return Outcome(
        sample=sample,
        on_raw=raw.actual,
        on_event=run_test(sample.runnable, test, sample.number, models).actual,
        refused="",
        leaves=_leaves(plain),
        untyped=_leaves([*whole.get("p_unknown_fields", {}).values()]),
        free=sum(_free(whole.get(field.name), field.value) for field in fields),
    )


@lru_cache
def outcomes() -> tuple[Outcome, ...]:
    """Every test whose log is of a built-in type with a schema."""
    registry = Registry.load([])
    known = {name for name in registry.names if registry.schema(name).fields}
    return tuple(_outcome(registry, sample) for sample in public_corpus.samples() if sample.log_type in known)


def _differing() -> list[Outcome]:
    return [outcome for outcome in outcomes() if outcome.refused or outcome.on_raw != outcome.on_event]


@public_corpus.needed
def test_rules_say_of_the_event_what_they_say_of_the_log() -> None:
    """With unknown fields dropped. Every exception is a log that was never whole, and is named above."""
    assert len(outcomes()) > 2500
    for outcome in _differing():
        place = (outcome.sample.log_type, outcome.sample.detection_id)
        assert EXCEPTIONS.get(place, "(none)") in outcome.refused, f"{place}: {outcome.on_raw} {outcome.on_event}"
    assert len(_differing()) < 0.03 * len(outcomes())


@public_corpus.needed
def test_nearly_every_value_reaches_a_declared_field() -> None:
    """At least 95 of 100 in each log type."""
    leaves: Counter[str] = Counter()
    untyped: Counter[str] = Counter()
    for outcome in outcomes():
        leaves[outcome.sample.log_type] += outcome.leaves
        untyped[outcome.sample.log_type] += outcome.untyped
    too_few = {name: untyped[name] for name in leaves if untyped[name] > (1 - LEAST_TYPED) * leaves[name]}
    assert too_few == {}


@pytest.mark.parametrize("place", EXCEPTIONS)
def test_the_log_types_of_the_exceptions_exist(place: tuple[str, str]) -> None:
    """A name that is not known would excuse nothing."""
    assert Registry.load([]).schema(place[0]).fields


def main() -> None:
    """The table."""
    print(f"{'log type':40s} tests  same  values  in declared fields  as json")
    for name in sorted({outcome.sample.log_type for outcome in outcomes()}):
        of_type = [outcome for outcome in outcomes() if outcome.sample.log_type == name]
        same = sum(not outcome.refused and outcome.on_raw == outcome.on_event for outcome in of_type)
        leaves = sum(outcome.leaves for outcome in of_type)
        typed = 1 - sum(outcome.untyped for outcome in of_type) / max(1, leaves)
        free = sum(outcome.free for outcome in of_type) / max(1, leaves)
        print(f"{name:40s} {len(of_type):5d} {same:5d} {leaves:7d} {typed:19.1%} {free:8.1%}")
    print(f"{'all':40s} {len(outcomes()):5d} {len(outcomes()) - len(_differing()):5d}")
    for outcome in _differing():
        sample = outcome.sample
        verdicts = outcome.refused or f"{outcome.on_raw} on the log, {outcome.on_event} on the event"
        print(f"{sample.log_type}: {sample.detection_id}: {sample.test.get('Name')}: {verdicts}")


if __name__ == "__main__":
    main()
