"""What is shipped, asked of a real Prometheus that scrapes a busy daemon."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.live import asked, busy


def test_every_query_has_an_answer(tmp_path: Path) -> None:
    """No panel is empty and no alert looks at nothing, once everything has happened that they are there for."""
    with busy(tmp_path) as prometheus:
        answers = [prometheus.ask(query) for query in asked()]
    assert len(answers) > 80
    assert not [answer.query.where for answer in answers if not answer.values]
