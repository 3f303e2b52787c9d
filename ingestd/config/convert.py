"""Sections of the configuration as the plain data that travels to the workers."""

from __future__ import annotations

from collections.abc import Collection

from ingestd.config.models import Root
from ingestd.decode.limits import Limits
from ingestd.detections.options import Options, Override


def detection_options(root: Root, *, log_types: Collection[str] | None = None) -> Options:
    """Which detections to load; with the known log types given, a detection for another one is warned of."""
    section = root.detections
    return Options(
        paths=tuple(str(path) for path in section.paths),
        packs=section.packs,
        enable=section.enable,
        disable=section.disable,
        overrides={name: Override(**dict(override)) for name, override in section.overrides.items()},
        known_log_types=None if log_types is None else tuple(sorted(log_types)),
    )


def decode_limits(root: Root) -> Limits:
    """Bounds on what an object may be."""
    limits = root.limits
    return Limits(
        max_record_bytes=limits.max_record_bytes,
        max_ratio=limits.max_ratio,
        max_plain_bytes=limits.max_plain_bytes,
        payload_bytes=limits.payload_bytes,
    )
