"""Answers what detections ask of the daemon while they run: their stored state, and secrets."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from ingestd import redact
from ingestd.config.models import RuleSecretsConfig
from ingestd.detections import hiding, secrets
from ingestd.detections.kv import Request
from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.state.kv import RuleStore
from ingestd.telemetry import occurrences
from ingestd.workers.frames import Call

REFUSED_SECS = 30.0
"""How long a refusal holds, so that a rule that asks for each event does not ask a manager for each."""
MOST_NAMES = 1_000
LONGEST_NAME = 512
MOST_PARTS = 50
"""Of one secret that are hidden in the daemon's own texts, where they must not push out other secrets."""


class RuleCalls:
    """The one place that answers. `secrets` may be replaced at a reload."""

    def __init__(self, store: RuleStore, secrets: RuleSecrets) -> None:
        self._store = store
        self.secrets = secrets

    async def answer(self, call: Call) -> Any:
        """The answer as plain data. Raises `Permanent` for a call that no one answers."""
        if call.name == "kv":
            request = msgspec.convert(call.body, Request)
            return msgspec.to_builtins(await self._store.call(call.rule, call.row_id, call.number, request))
        if call.name == "secret":
            return msgspec.to_builtins(await self.secrets.get(call.rule, msgspec.convert(call.body, str)))
        raise Permanent(f"a rule asked for {call.name!r}, which is not to be had", reason="unknown_call")


class RuleSecrets:
    """Secrets by the names that rules know, as far as the configuration grants them. Values are kept for a time,
    and an old one is given while its manager cannot be reached."""

    def __init__(self, config: RuleSecretsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, secrets.Answer]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[secrets.Answer]] = {}

    async def get(self, rule: str, name: str) -> secrets.Answer:
        """The secret, or why not: one that was never read and whose manager cannot be reached is refused for now."""
        until, answer = self._kept.get(name, (0.0, None))
        left = until - self._clock()
        if answer is not None and left > 0:
            return msgspec.structs.replace(answer, keep_secs=left)
        reading = self._reading.get(name)
        if reading is None:  # many children may ask at once: it is read once
            reading = self._reading[name] = asyncio.create_task(self._renewed(rule, name, answer))
            reading.add_done_callback(lambda _: self._reading.pop(name, None))
        return await asyncio.shield(reading)

    async def _renewed(self, rule: str, name: str, old: secrets.Answer | None) -> secrets.Answer:
        try:
            answer = await self._read(name)
        except Retryable as error:
            if old is None or old.refused is not None:
                answer = _refused("unavailable", f"secret {name!r}: {error}")
            else:
                occurrences.rule_secret_refused(rule, name, "unavailable", str(error))
                answer = msgspec.structs.replace(old, keep_secs=min(REFUSED_SECS, self._config.ttl_secs))
        if answer.refused is not None:
            occurrences.rule_secret_refused(rule, name[:LONGEST_NAME], answer.refused, answer.message)
        self._kept[name] = (self._clock() + answer.keep_secs, answer)
        if len(self._kept) > MOST_NAMES:
            self._kept.popitem(last=False)
        return answer

    async def _read(self, name: str) -> secrets.Answer:
        config = self._config
        if not config.grants(name) or len(name) > LONGEST_NAME:
            message = f"only names under {config.prefix}/ are granted (detections.secrets.prefix)"
            return _refused("not_granted", f"secret {name[:LONGEST_NAME]!r}: {message}")
        where = config.where(name)
        if where is None:
            return _refused("not_found", f"secret {name!r}: detections.secrets.values has no such name")
        try:
            value = await asyncio.to_thread(where.resolve)
        except ConfigError as error:
            return _refused("not_found", f"secret {name!r}: {error}")
        if len(value.strip()) < hiding.SHORTEST:  # a rule may strip it
            message = f"has fewer than {hiding.SHORTEST} characters, and could not be kept out of alerts"
            return _refused("unavailable", f"secret {name!r}: {message}")
        for part in islice(hiding.parts(value), MOST_PARTS):
            redact.remember(part)
        return secrets.Answer(value=value, keep_secs=config.ttl_secs)


def _refused(reason: secrets.Refusal, message: str) -> secrets.Answer:
    return secrets.Answer(refused=reason, message=message, keep_secs=REFUSED_SECS)
