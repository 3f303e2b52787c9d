"""`docs/rules.md`: what the rules that come with ingestd alert on, from their files."""

from __future__ import annotations

from pathlib import Path

from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.loading.discover import read_items
from ingestd.detections.options import Options
from ingestd.detections.runnable import Runnable

_EVERYTHING = "Ingestd.Core"
_HEAD = """\
# Rules

The {count} rules that come with ingestd, in [detections/](../detections/). This page is generated from their files by
`scripts/reference`. A configuration names the folder, and the packs that it wants:

```yaml
detections:
  paths: [detections/]
  packs: [Ingestd.AWS, Ingestd.Okta]     # or Ingestd.Core, which holds all
```

Without `packs` all of them run; a rule for logs that never come costs nothing. They need no lookup table and no other
service, and may lie beside a fork of the public corpus. What to do about an alert stands in it, as its runbook.
[Tuning](detections-tuning.md) makes them fit without changing them.

A severity with a `*` depends on the event. *Within* is the time in which matches on one subject are one alert; with a
number, so many matches, or matches on so many different things, make it.
"""
_TABLE = """
## {name}

Pack `{pack}`: {description}

| rule | severity | logs | within | ATT&CK | alerts when |
|---|---|---|---|---|---|
"""


def generated(repository: Path) -> dict[str, str]:
    """Path of the page within the repository → its text."""
    folder = repository / "detections"
    rules = DetectionSet.load(Options(paths=(str(folder),), include_disabled=True))
    described = {item.id: str(item.data.get("Description")) for item in read_items((str(folder),))[0]}
    parts = [_HEAD.format(count=len(rules.runnables))]
    for pack in sorted(rules.packs.keys() - {_EVERYTHING}):
        parts.append(_TABLE.format(name=pack.rpartition(".")[2], pack=pack, description=described[pack]))
        parts += [
            _row(rules.runnables[name], repository) for name in sorted(rules.packs[pack]) if name in rules.runnables
        ]
    return {"docs/rules.md": "".join(parts)}


def _row(rule: Runnable, repository: Path) -> str:
    one = rule.detection
    file = Path(one.file).relative_to(repository.resolve())
    cells = (
        f"[{one.display_name}](../{file})<br>`{one.id}`",
        one.severity.capitalize() + ("\\*" if "severity" in rule.functions else ""),
        "<br>".join(one.log_types),
        (f"{one.threshold} in " if one.threshold > 1 else "") + _period(one.dedup_minutes),
        "<br>".join(name.rpartition(":")[2] for name in one.reports.get("MITRE ATT&CK", ())),
        one.description,
    )
    return f"| {' | '.join(cells)} |\n"


def _period(minutes: int) -> str:
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
