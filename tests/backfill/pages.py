"""A bucket of any size that takes no room: a server that makes up the pages of its listing.

python -m tests.backfill.pages PORT KEYS      serves until it is ended
"""

from __future__ import annotations

import sys

from aiohttp import web

PAGE = 1_000
HEAD = '<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><KeyCount>{count}</KeyCount>'
ENTRY = (
    "<Contents><Key>AWSLogs/{number:09}</Key><LastModified>2026-01-31T00:00:00.000Z</LastModified>"
    '<ETag>"{number:032x}"</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass></Contents>'
)


def page(request: web.Request, keys: int) -> web.Response:
    """The entries after the one asked for."""
    after = request.query.get("continuation-token") or request.query.get("start-after", "")
    first = int(after.rpartition("/")[2] or 0) + 1
    last = min(first + PAGE - 1, keys)
    entries = "".join(ENTRY.format(number=number) for number in range(first, last + 1))
    more = "true" if last < keys else "false"
    tail = f"<IsTruncated>{more}</IsTruncated><NextContinuationToken>AWSLogs/{last:09}</NextContinuationToken>"
    head = HEAD.format(bucket=request.match_info["bucket"], count=last - first + 1)
    return web.Response(text=f"{head}{tail}{entries}</ListBucketResult>", content_type="application/xml")


def main() -> None:
    """Serve."""
    port, keys = map(int, sys.argv[1:3])
    app = web.Application()
    app.router.add_get("/{bucket}", lambda request: _answer(request, keys))
    web.run_app(app, host="127.0.0.1", port=port, print=None)


async def _answer(request: web.Request, keys: int) -> web.Response:
    return page(request, keys)


if __name__ == "__main__":
    main()
