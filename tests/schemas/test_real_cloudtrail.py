"""Real CloudTrail files, where they are at hand."""

import os
from pathlib import Path

import orjson
import pytest

from ingestd.schemas import Registry, SessionInfo

FOLDER = Path(os.environ.get("INGESTD_REAL_CLOUDTRAIL", Path(__file__).parents[3] / "shared" / "data" / "cloudtrail"))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="INGESTD_REAL_CLOUDTRAIL names no folder of CloudTrail files")
def test_every_record_is_understood_whole() -> None:
    """No record is rejected, none has a field that the schema does not know, alone and among all log types."""
    registry = Registry.load([])
    records = [
        orjson.dumps(record)
        for file in sorted(FOLDER.glob("*.json"))
        for record in orjson.loads(file.read_bytes())["Records"]
    ]
    assert records
    for candidates in (("AWS.CloudTrail",), ()):
        session = registry.classifier(candidates).session(SessionInfo(identity="file"))
        events = [session.read(record, ordinal) for ordinal, record in enumerate(records)]
        assert all(isinstance(event, dict) and event["p_log_type"] == "AWS.CloudTrail" for event in events)
    times = sorted(event["p_event_time"] for event in events if isinstance(event, dict))
    assert (times[0][:19], times[-1][:19]) == ("2023-07-10 11:42:36", "2023-07-10 12:37:50")
    assert registry.take_drift() == []
