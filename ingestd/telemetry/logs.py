"""The daemon's log: structlog through the standard library, so that the lines of SDKs look like ours.

One line per event on stderr, as JSON, logfmt or for people; timestamps in RFC 3339 UTC; no secrets; what repeats is
folded; priorities in front when systemd's journal reads the stream.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ingestd import redact
from ingestd.telemetry.fold import Folder

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "logfmt", "console"]

LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FIRST_FIELDS = ("timestamp", "level", "event", "logger", "source", "object", "stage", "error_type", "error")

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""syslog's numbers, which systemd reads as `<3>` in front of a line."""

_folder: Folder | None = None
_ours = logging.getLogger("ingestd")


def configure(
    level: Level = "info", format_: Format = "auto", *, fold_secs: float = 10.0, stream: TextIO | None = None
) -> None:
    """Set up all logging of this process, ours and that of libraries. A second call replaces the first."""
    global _folder  # noqa: PLW0603 - logging is global to a process by nature
    stream = stream if stream is not None else sys.stderr
    if format_ == "auto":
        format_ = "console" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(format_, stream))
    flush_folded(everything=True)
    _folder = Folder(fold_secs, emit=handler.emit) if fold_secs > 0 else None
    if _folder is not None:
        handler.addFilter(_folder)
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    set_level(level)


def set_level(level: Level) -> None:
    """Show lines from `level` on. Libraries say one level less: their info is our debug."""
    ours = logging.getLevelNamesMapping()[level.upper()]
    _ours.setLevel(ours)
    logging.getLogger().setLevel(logging.INFO if ours <= logging.DEBUG else max(ours, logging.WARNING))


def wanted(level: int, text: str, **fields: Any) -> bool:
    """Whether a line of ours is to be made: not below the level, and no repeat, which is only counted, here."""
    if not _ours.isEnabledFor(level):
        return False
    return _folder is None or level <= logging.DEBUG or not _folder.counted(level, {"event": text, **fields})


def flush_folded(*, everything: bool = False) -> None:
    """Write the counts of folded lines whose window is over, every second; at the end, of all."""
    if _folder is not None:
        _folder.flush(everything=everything)


def _shared() -> list[Processor]:
    """What happens to a line of ours when it is logged, and to one of a library when it is written."""
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]


def _formatter(format_: Format, stream: TextIO) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_shared()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redacted,
            _in_order,
            *_renderer(format_, stream),
            _with_priority if _is_journal(stream) else _as_it_is,
        ],
    )


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    hidden: EventDict = redact.tree(dict(event))
    return hidden


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    ordered: EventDict = {field: event.pop(field) for field in FIRST_FIELDS if field in event}
    ordered.update(event)
    return ordered


def _renderer(format_: Format, stream: TextIO) -> Sequence[Processor]:
    if format_ == "console":
        colours = stream.isatty() and "NO_COLOR" not in os.environ
        return (
            _printable,
            structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=30),
        )
    if format_ == "logfmt":
        return (_one_line, structlog.processors.LogfmtRenderer(bool_as_flag=False))
    return (structlog.processors.JSONRenderer(ensure_ascii=False, default=str),)


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """No control characters on a terminal: names of objects come from outside. Tracebacks keep their lines."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key not in {"exception", "stack"}:
            event[key] = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in value)
        elif key in {"exception", "stack"}:
            event[key] = "".join(letter for letter in str(value) if letter.isprintable() or letter == "\n")
    return event


def _one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """logfmt's keys have no spaces, and nested values are text."""
    return {str(key).replace(" ", "_"): value for key, value in event.items()}


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream goes to systemd's journal: it tells device and inode of its socket."""
    try:
        device, inode = os.environ.get("JOURNAL_STREAM", "").split(":")
        status = os.fstat(stream.fileno())
    except (ValueError, OSError):
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


def _with_priority(_: WrappedLogger, level: str, line: Any) -> str:
    """Every line of an entry needs the priority, or the journal takes the rest of a traceback as ordinary."""
    prefix = f"<{_PRIORITIES.get(level, 6)}>"
    return "\n".join(prefix + part for part in str(line).splitlines())


def _as_it_is(_: WrappedLogger, __: str, line: Any) -> str:
    return str(line)
