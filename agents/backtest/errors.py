"""What can go wrong in a backtest, and the exit status that tells it."""

from __future__ import annotations

from collections.abc import Mapping

from agents.stream.errors import StreamError

_GOES_ON = "are done and kept; the same command goes on from there"


class TasksFailed(StreamError):
    """Some tasks failed for good; the others are done and kept."""

    exit_status = 1

    def __init__(self, failures: Mapping[str, str], done: int, total: int, waiting: int) -> None:
        listed = "; ".join(f"{name}: {why}" for name, why in failures.items())
        behind = f", {waiting} wait behind them" if waiting else ""
        super().__init__(f"{len(failures)} of {total} tasks failed{behind} ({listed}). {done} {_GOES_ON}")


class SchedulerLost(StreamError):
    """The Dask scheduler has gone away in the middle of the work; what is done is kept."""

    exit_status = 1

    def __init__(self, address: str, done: int, total: int) -> None:
        super().__init__(f"the Dask scheduler at {address} is gone: {done} of {total} tasks {_GOES_ON}")


class Interrupted(StreamError):
    """Somebody has stopped it; what is done is kept."""

    exit_status = 130

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped: {done} of {total} tasks {_GOES_ON}")
