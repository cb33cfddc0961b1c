"""Garbage collection in a process through which many records go."""

from __future__ import annotations

import gc

_COLLECT_AFTER = 50_000


def leave_in_peace() -> None:
    """Let the collector pass over what is there by now, and look at what comes less often.

    Imported modules stay, and each full collection would walk through all of them; thousands of records are held at
    a time, none of them garbage.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
