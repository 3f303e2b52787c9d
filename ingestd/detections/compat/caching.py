"""Answers to `panther_detection_helpers.caching`: counters, string sets and dictionaries shared by all rules.

Times to live: None is 90 days from now; less than 604,801 is seconds from now; more is an absolute time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ingestd.detections import kv

_DEFAULT_TTL = 90 * 86_400
_LONGEST_RELATIVE_TTL = 604_800
Seconds = float | str | None


def get_counter(key: str, force_ttl_check: bool = False) -> int:
    """The counter's value; 0 if it does not exist or has expired."""
    return _get(key).count or 0


def increment_counter(key: str, val: int = 1, epoch_seconds: Seconds = None) -> int:
    """Add `val` and give the new value. An expired counter starts again at `val`."""
    return _write("add_count", key, amount=int(val), expires_at=_expiry(epoch_seconds)).count or 0


def reset_counter(key: str) -> None:
    """Set the counter to 0."""
    _write("reset_count", key)


def set_key_expiration(key: str, epoch_seconds: Seconds) -> None:
    """Set the time at which everything under `key` expires."""
    _write("set_expiry", key, expires_at=_expiry(epoch_seconds))


def put_dictionary(key: str, val: Mapping[str, Any], epoch_seconds: Seconds = None) -> None:
    """Keep a mapping, as JSON. TypeError if it is no mapping, ValueError if it is not JSON."""
    if not isinstance(val, Mapping):
        raise TypeError("panther_detection_helpers.caching.put_dictionary: value is not a mapping")
    plain = val.to_dict() if hasattr(val, "to_dict") else dict(val)
    try:
        text = json.dumps(plain)
    except TypeError as error:
        raise ValueError(f"panther_detection_helpers.caching.put_dictionary: value is not JSON: {error}") from error
    _write("put_dictionary", key, text=text, expires_at=_expiry(epoch_seconds))


def get_dictionary(key: str, force_ttl_check: bool = False) -> dict[str, Any]:
    """The mapping kept under `key`; empty if there is none."""
    text = _get(key).dictionary
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def get_string_set(key: str, force_ttl_check: bool = False) -> set[str]:
    """The strings kept under `key`; empty if there are none."""
    return set(_get(key).strings or ())


def put_string_set(key: str, val: Iterable[str], epoch_seconds: Seconds = None) -> None:
    """Replace the set. Nothing in it removes it."""
    strings = _strings(val)
    if not strings:
        reset_string_set(key)
        return
    _write("put_set", key, strings=strings, expires_at=_expiry(epoch_seconds))


def add_to_string_set(key: str, val: str | Sequence[str], epoch_seconds: Seconds = None) -> set[str]:
    """Add one string or several and give the new set. An expired set starts again."""
    strings = _strings(val)
    if not strings:
        return get_string_set(key)
    return set(_write("add_to_set", key, strings=strings, expires_at=_expiry(epoch_seconds)).strings or ())


def remove_from_string_set(key: str, val: str | Sequence[str], epoch_seconds: Seconds = None) -> set[str]:
    """Remove one string or several and give the new set."""
    strings = _strings(val)
    if not strings:
        return get_string_set(key)
    return set(_write("remove_from_set", key, strings=strings, expires_at=_expiry(epoch_seconds)).strings or ())


def reset_string_set(key: str) -> None:
    """Remove the set."""
    _write("reset_set", key)


def evaluate_threshold(key: str, threshold: int = 10, expiry_seconds: int = 3600) -> bool:
    """Count one; True, and start again at 0, when the count reaches `threshold` before it expires."""
    if increment_counter(key, 1, expiry_seconds) >= threshold:
        reset_counter(key)
        return True
    return False


def check_account_age(key: Any) -> bool:
    """Whether a set is kept under `key` and has not expired, i.e. the account was marked as new."""
    return bool(get_string_set(str(key), force_ttl_check=True))


def ttl_expired(response: Mapping[str, Any]) -> bool:
    """Whether the item in an answer of DynamoDB has expired; one without `expiresAt` has not."""
    item = response.get("Item") or {}
    expires_at = item.get("expiresAt")
    return expires_at is not None and float(expires_at) < time.time()


def kv_table() -> NoReturn:
    """Elsewhere a table of DynamoDB. The state here is no such table: what it does is done by the functions above."""
    raise NotImplementedError(
        "state is reached by the functions of panther_detection_helpers.caching, not by a table"
    )


def _get(key: str) -> kv.Item:
    return kv.request(kv.Request(operation="get", key=str(key)))


def _write(
    operation: kv.Operation,
    key: str,
    *,
    amount: int = 0,
    strings: tuple[str, ...] = (),
    text: str = "",
    expires_at: float | None = None,
) -> kv.Item:
    return kv.request(
        kv.Request(
            operation=operation, key=str(key), amount=amount, strings=strings, text=text, expires_at=expires_at
        )
    )


def _strings(val: str | Iterable[str]) -> tuple[str, ...]:
    return (val,) if isinstance(val, str) else tuple(str(item) for item in val)


def _expiry(epoch_seconds: Seconds) -> float:
    now = time.time()
    if epoch_seconds is None:
        return now + _DEFAULT_TTL
    seconds = float(epoch_seconds)
    return now + seconds if seconds <= _LONGEST_RELATIVE_TTL else seconds
