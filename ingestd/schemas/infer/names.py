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

_TRACES = word_set("trace correlation request session transaction audit")
_ACTORS = (("actor",), ("user",), ("principal",), ("by",))
"""Last words of what has an id that names who did it: `user_id`, `created_by.id`."""
_OWN_IDS = word_set("id gid uid profileid")
_USER_NAMES = word_set("user login loginname actor actorname principal usrname suser duser")
_PAGES = (("html",), ("clone",), ("run",), ("self",), ("web",), ("avatar",), ("api",))
_GROUPS = (("organization",), ("org",), ("repository",), ("team",))
EVENT_TIMES = (
    "eventtime", "timestamp", "time", "attimestamp", "eventcreationtime", "ts", "datetime", "timegenerated",
    "when", "systemtime", "devtime", "published", "occurredat", "occurred", "createdat", "created", "date",
    "eventdate", "starttime", "start", "timecreated",
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
    return bool(_IDENTIFIERS.intersection(found)) or found[-1:] in (
        ("id",),
        ("ids",),
        ("uuid",),
        ("code",),
        ("version",),
    )


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


def is_own_link(name: str) -> bool:
    """Whether it names a link to the page of a thing at the service that wrote the log."""
    found = words(name)
    return found[-1:] in (("url",), ("uri",), ("link",), ("href",)) and found[:1] in _PAGES


def indicator(name: str, parent: str = "") -> str:
    """The indicator that the name alone suggests, or with the name of the object around it; else an empty text."""
    found, plain = words(name), squeezed(name)
    last = found[-1:] and found[-1]
    around = words(parent)[-1:]
    if last == "id" and _TRACES.intersection(found[:-1] or around):
        return "trace_id"
    if plain in _OWN_IDS and (around in _ACTORS or words(parent)[-2:] == ("service", "account")):
        return "actor_id"
    if last == "id" and found[-2:-1] in _ACTORS:
        return "actor_id"
    if plain in _USER_NAMES and around not in _GROUPS:
        return "username"
    if plain.endswith("username") or (plain in {"name", "displayname"} and around in (("actor",), ("user",))):
        return "username"
    if last in {"hostname", "host", "fqdn"} or found[-2:] in (("host", "name"), ("host", "header")):
        return "hostname"
    if plain in {"hostidentifier", "computer", "computername"}:
        return "hostname"
    if last == "sha":
        return "sha1"
    if last in {"domain", "domainname"}:
        return "domain"
    return "serial_number" if found[-2:] == ("serial", "number") else ""
