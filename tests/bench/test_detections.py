"""The bench of detections compares the same work, and says so when it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from bench import corpus, detections
from ingestd.detections import DetectionSet

OWN = Path(__file__).parents[2] / "detections"
LOG_TYPE = "AWS.CloudTrail"


@pytest.fixture(scope="module")
def own() -> DetectionSet:
    """The project's own detections, all enabled."""
    return corpus.load((str(OWN),))


def test_it_measures_a_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per log type; the exit status tells that routing changed nothing."""
    arguments = ["bench", str(OWN), "--log-types", "1", "--events", "60", "--rounds", "1", "--only", LOG_TYPE]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        detections.main()
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(LOG_TYPE)
    assert line.endswith("same")
    assert not ended.value.code


def test_events_are_like_the_samples_and_none_is_like_another(own: DetectionSet) -> None:
    """Drawn from the tests, the same every time, with row ids and request ids of their own."""
    samples = corpus.samples(own, LOG_TYPE)
    events = corpus.events_like(samples, LOG_TYPE, 50)
    assert events == corpus.events_like(samples, LOG_TYPE, 50)
    assert len({orjson.loads(event)["p_row_id"] for event in events}) == 50
    names = {sample.get("eventName") for sample in samples}
    assert {orjson.loads(event).get("eventName") for event in events} <= names


def test_copies_make_many_rules_of_few(own: DetectionSet, tmp_path: Path) -> None:
    """Each under an id of its own, beside the originals."""
    few = len(own.for_log_type(LOG_TYPE))
    corpus.write_copies(own, LOG_TYPE, few + 5, tmp_path)
    assert len(corpus.load((str(OWN), str(tmp_path))).for_log_type(LOG_TYPE)) == few + 5
