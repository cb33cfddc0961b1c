"""What one contestant cost: wall time, CPU time and memory of its process, over the stretch in which it worked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Cost:
    """One run: quotes, wall seconds, CPU seconds of the process, its peak resident memory in bytes."""

    quotes: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """Quotes a second of wall time."""
        return self.quotes / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds a million quotes."""
        return self.cpu_seconds / self.quotes * 1e6


def watch(pid: int, taken: Callable[[], float], total: float, quotes: int, patience: float = 600.0) -> Cost:
    """Follow a process from its first input record to its last.

    taken: records of the input that it has taken so far, of `total`; quotes: how many they hold.
    """
    process = psutil.Process(pid)
    began = None
    peak, cpu_before, taken_before = 0, 0.0, 0.0
    deadline = time.monotonic() + patience
    while True:
        now, done = time.monotonic(), taken()
        if now > deadline:
            raise TimeoutError(f"{done:.0f} of {total:.0f} records after {patience:.0f} s")
        if began is None and done > 0:
            began, cpu_before, taken_before = now, _cpu(process), done
        peak = max(peak, process.memory_info().rss)
        if began is not None and done >= total:
            share = (total - taken_before) / total
            return Cost(round(quotes * share), now - began, _cpu(process) - cpu_before, peak)
        time.sleep(0.02)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
