"""Event times: from when on they are believed, and as text."""

from __future__ import annotations

import time
from functools import lru_cache

NS = 1_000_000_000
"""Nanoseconds in a second: the unit of every ts."""

EARLIEST_TS = 315_532_800 * NS
"""1980-01-01: a smaller ts was not meant in nanoseconds."""


@lru_cache(maxsize=64)
def rfc3339(ts: int) -> str:
    """A ts (ns since the epoch, UTC) as RFC 3339 text, with nine digits where it is no whole second.

    >>> rfc3339(1_381_132_800_000_000_000), rfc3339(1_381_132_800_547_000_000)
    ('2013-10-07T08:00:00Z', '2013-10-07T08:00:00.547000000Z')
    """
    seconds, fraction = divmod(ts, NS)
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{second}.{fraction:09d}Z" if fraction else f"{second}Z"
