"""Schemas, in the child: the public log-schema language, compiled; classification; built-in log types.

registry = Registry.load([Path("schemas")])
session = registry.classifier(("AWS.CloudTrail",)).session(SessionInfo(identity="file:…"))
result = session.read(record, ordinal)
"""

from ingestd.schemas.classifier import Classifier
from ingestd.schemas.registry import Registry
from ingestd.schemas.session import Event, Rejected, Result, Session, SessionInfo

__all__ = ["Classifier", "Event", "Registry", "Rejected", "Result", "Session", "SessionInfo"]
