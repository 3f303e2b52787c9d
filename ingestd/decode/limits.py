"""How much of an object decoding is willing to take."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one object. Each, when passed, is a `Damage` with the reason named here, never an exception."""

    max_record_bytes: int = 16 * MIB
    """`record_too_long`: the record is skipped in constant memory and what follows it still comes. A record is held
    whole for as long as it is looked at; the largest legitimate ones (Kubernetes audit) are about 1.5 MiB."""

    max_ratio: int = 500
    """`expansion_limit`: plain bytes for each compressed byte, over the whole object. Audit logs reach about 50,
    lines that repeat to the byte about 300 in gzip, which cannot exceed 1,032; bombs sit at their format's limit."""

    ratio_from_bytes: int = 8 * MIB
    """Plain size below which the ratio is not looked at: a tiny object may be dense. Half of the longest record,
    so that a bomb is named as one before it is found to be a long record."""

    max_plain_bytes: int = 64 * 1024 * MIB
    """`expansion_limit` whatever the ratio, for compressed objects: hours of work from one notice."""

    max_codec_bytes: int = 130 * MIB
    """`codec_memory`: history that a compressed stream may ask for. `xz -9` needs 65 MiB, `zstd --ultra -22` and
    `zstd --long` 128; both formats can ask for gigabytes."""

    max_kept_bytes: int = 256 * MIB
    """`object_too_long`: plain bytes of a Parquet file, which lies in a temporary file until it is whole."""

    payload_bytes: int = 4096
    """How much of a damaged record is kept to be looked at."""
