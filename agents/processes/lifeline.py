"""Ends this process when the one that started it is gone, whatever it died of.

The parent keeps the writing end of a pipe open and never writes: its end, by SIGKILL too, closes the pipe. Linux'
death signal would do without a pipe, but it follows the thread that started the child, and other systems lack it.
"""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "MM_LIFELINE"
_PATIENCE_SECONDS = 5.0
_ORPHANED_EXIT_STATUS = 74


def watch() -> None:
    """Watch the pipe that the environment names, if it names one; to be called before anything that takes long."""
    number = os.environ.pop(VARIABLE, None)
    if number is not None:
        threading.Thread(target=_end_with, args=(int(number),), name="lifeline", daemon=True).start()


def _end_with(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # commits what is in hand
    time.sleep(_PATIENCE_SECONDS)
    os._exit(_ORPHANED_EXIT_STATUS)
