"""The process that the workers of this machine are forked from: modules and kernels are loaded once for all of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

# Elsewhere the system's own libraries do not bear a fork.
_CAN_FORK = sys.platform == "linux"
_PRELOADED = "agents.backtest.preloaded"
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""A process that forks has to have one thread alone: numpy and Arrow would begin others when they are imported."""


def begin() -> None:
    """Have it load what workers need while this process goes on; worth it as soon as workers are known to be wanted.

    It ends with this process and the last worker.
    """
    if not _CAN_FORK:
        return
    main = getattr(sys.modules["__main__"], "__spec__", None)
    # Every child imports it anew under another name: what that one imports is then there.
    preloaded = [_PRELOADED, *([main.name] if main else [])]
    multiprocessing.set_forkserver_preload(preloaded)
    with _environment(), deaf_children():
        forkserver.ensure_running()


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Processes begun within are forked from it, where the system can do that."""
    if not _CAN_FORK:
        yield
        return
    begin()
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Threads and processes begun within do not hear a Ctrl-C, which a terminal sends to all processes.

    They would end with a stack trace each. This process notes it and is interrupted when the block is left.
    """
    # Begun by the first child otherwise, and it lets the signal through to that one.
    resource_tracker.ensure_running()
    noted: list[int] = []
    # Threads of before hear it in any case, and it would interrupt the main one in the middle of a start.
    handler = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if noted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
