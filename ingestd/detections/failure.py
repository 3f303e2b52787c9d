"""What can be said of an exception that came out of a rule: the exception is the rule's object too."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType

from ingestd.detections.returns import class_name, limited, plain

MAX_TRACEBACK = 8_000
# The attributes themselves, because a rule's exception class may define its own of these names.
_TRACEBACK = BaseException.__dict__["__traceback__"]
_CONTEXT = BaseException.__dict__["__context__"]
_CAUSE = BaseException.__dict__["__cause__"]
_Frame = tuple[str, int, str]
_OURS = __file__.rpartition("/")[0] + "/"


def shown(error: BaseException) -> str:
    """`repr(error)` within limits; the class's name if its repr raises."""
    try:
        return limited(repr(error))
    except BaseException:  # noqa: BLE001 - a rule's class may raise anything from __repr__
        return f"{class_name(error)}(<repr failed>)"


def message(error: BaseException) -> str:
    """`text: file.py, line n, in function`, as the public format words it."""
    try:
        said = limited(str(error))
    except BaseException:  # noqa: BLE001 - a rule's class may raise anything from __str__
        said = "<str failed>"
    last = deque(_frames(_TRACEBACK.__get__(error)), 1)
    return said + "".join(f": {file.rpartition('/')[2]}, line {line}, in {name}" for file, line, name in last)


def traceback_text(error: BaseException) -> str:
    """The traceback as text, beginning with the rule's own frames, the middle cut out if it is long.

    Frames of this package are left out. Local variables are never looked at, for they hold what the event
    holds.
    """
    first, last = _ends(_frames(_TRACEBACK.__get__(error)), 20)
    summary = traceback.StackSummary.from_list([(*frame, None) for frame in (*first, *last)])
    text = "Traceback (most recent call last):\n" + "".join(summary.format()) + shown(error)
    cause = _CAUSE.__get__(error)
    if cause is not None and cause is not error:
        text += f"\ncaused by {message(cause)}"
    if len(text) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n…\n{text[-half:]}"
    return plain(text)


def innermost_line(error: BaseException, file: str) -> int | None:
    """The last line of `file` that the exception passed through."""
    found = None
    for name, line, _ in _frames(_TRACEBACK.__get__(error)):
        if name == file:
            found = line
    return found


def forget(error: BaseException) -> None:
    """Let go of what the exception's frames hold, which may be what used up the memory."""
    for attribute in (_TRACEBACK, _CONTEXT, _CAUSE):
        attribute.__set__(error, None)


def _frames(trace: TracebackType | None) -> Iterator[_Frame]:
    """File, line and function of each frame, the author's ones: those of this package say nothing to him."""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            yield code.co_filename, trace.tb_lineno or 0, code.co_name
        trace = trace.tb_next


def _ends(frames: Iterator[_Frame], count: int) -> tuple[list[_Frame], list[_Frame]]:
    """The first and the last so many, not keeping the others: of a recursion without a limit there are millions."""
    return list(islice(frames, count)), list(deque(frames, count))
