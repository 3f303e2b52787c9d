"""Why a record is of one log type and of none of the others, for people."""

from __future__ import annotations

from ingestd.schemas import jsontext
from ingestd.schemas.classifier import Classifier
from ingestd.schemas.session import Rejected, SessionInfo


class Explainer:
    """Tries the candidates of a classifier one by one."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._alone = {
            kind.name: Classifier([kind]).session(SessionInfo(identity="explain"))
            for kind in (*classifier.jsons, *classifier.texts)
        }

    def others(self, data: bytes, chosen: str) -> dict[str, str]:
        """Log type → why the record is not of it, for each candidate but `chosen`."""
        reasons = dict(refusal.split(": ", 1) for refusal in self._by_keys(data))
        for name, session in self._alone.items():
            if name == chosen or name in reasons:
                continue
            found = session.read(data, 0)
            if isinstance(found, Rejected):
                reasons[name] = found.detail
            elif found is None:
                reasons[name] = "takes it for a header or a comment"
            else:
                reasons[name] = f"would fit, but {chosen} fits better" if chosen else "would fit"
        reasons.pop(chosen, None)
        return dict(sorted(reasons.items()))

    def _by_keys(self, data: bytes) -> list[str]:
        try:
            record = jsontext.loads(data)
        except ValueError:
            return []
        return self._classifier.shapes.refusals(record) if isinstance(record, dict) else []
