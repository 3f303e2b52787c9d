"""What the name of a field says about its values."""

from __future__ import annotations

import re
from functools import lru_cache

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


_QUANTITIES = word_set(
    "count bytes size port duration num total status length packets ms seconds secs millis age ttl amount "
    "sum score level priority severity offset line pid uid gid index attempts retries latency elapsed "
    "start end"
)
_IDENTIFIERS = word_set(
    "account zip zipcode postal postcode phone mobile fax ssn hash digest serial imei imsi iban card"
)
_TIMES = word_set(
    "time timestamp date datetime ts created updated modified expires expiry expiration exp iat nbf start "
    "end began since until at when epoch occurred published seen received"
)
_MAPS = word_set("tags labels annotations headers attributes properties params parameters metadata")
_KINDS = word_set("type kind category event action schema class operation")

EVENT_TIMES = (
    "eventtime", "timestamp", "time", "attimestamp", "ts", "datetime", "timegenerated", "published", "occurredat",
    "occurred", "createdat", "created", "date", "eventdate", "starttime", "start", "timecreated",
)  # fmt: skip
"""Names of the event time, the likelier first; without capitals and separators."""
_NOT_EVENT_TIMES = word_set(
    "expires expiry expiration exp updated modified received ingest ingested processed parsed end until "
    "first last nbf iat creation issued deleted due birth"
)


@lru_cache(4096)
def words(name: str) -> tuple[str, ...]:
    """`sourceIPAddress` → source, ip, address."""
    return tuple(word.lower() for word in _WORDS.findall(name))


def squeezed(name: str) -> str:
    """The name without capitals and separators."""
    return "".join(words(name.replace("@", "")))


def is_quantity(name: str) -> bool:
    """Whether its digits count something."""
    return bool(_QUANTITIES.intersection(words(name)[-1:]))


def is_identifier(name: str) -> bool:
    """Whether its digits name something, so that they must stay as they are."""
    found = words(name)
    return bool(_IDENTIFIERS.intersection(found)) or found[-1:] in (("id",), ("ids",), ("uuid",), ("code",))


def must_be_text(name: str) -> bool:
    """Whether numbers under this name are identifiers written without quotes."""
    return bool(_IDENTIFIERS.intersection(words(name)))


def is_time(name: str) -> bool:
    """Whether it names a moment."""
    return bool(_TIMES.intersection(words(name)))


def is_map(name: str) -> bool:
    """Whether its keys are usually the user's own."""
    return bool(_MAPS.intersection(words(name)[-1:]))


def is_kind(name: str) -> bool:
    """Whether its values may tell kinds of records apart."""
    return bool(_KINDS.intersection(words(name)[-1:])) or squeezed(name).startswith(("eventtype", "eventsource"))


def event_time_rank(name: str) -> int:
    """The lower the likelier the event time."""
    plain = squeezed(name)
    if plain in EVENT_TIMES:
        return EVENT_TIMES.index(plain)
    return 60 if _NOT_EVENT_TIMES.intersection(words(name)) else 30


def indicator(name: str) -> str:
    """The indicator that the name alone suggests, or an empty text."""
    found, plain = words(name), squeezed(name)
    last = found[-1:] and found[-1]
    if "trace" in found and last == "id":
        return "trace_id"
    if plain in {"actorid", "principalid"}:
        return "actor_id"
    if plain in {"user", "login", "loginname", "actorname", "principal"} or plain.endswith("username"):
        return "username"
    if last in {"hostname", "host", "fqdn"} or found[-2:] == ("host", "name"):
        return "hostname"
    if last in {"domain", "domainname"}:
        return "domain"
    return "serial_number" if found[-2:] == ("serial", "number") else ""
