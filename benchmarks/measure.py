"""What a contestant cost: wall time, CPU time and memory of its processes, over the stretch in which it worked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.processes import Running

_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Stretch:
    """Some work: quotes, wall seconds, CPU seconds of all processes together."""

    quotes: float
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Quotes a second of wall time."""
        return self.quotes / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds a million quotes."""
        return self.cpu_seconds / self.quotes * 1e6


@dataclass(frozen=True)
class Cost:
    """One run: from the first progress to the end, its second half alone, and peak resident memory in bytes."""

    whole: Stretch
    half: Stretch
    peak_bytes: int

    def figures(self) -> dict[str, float]:
        """The columns of a table."""
        return {
            "thousand quotes/s": self.whole.per_second / 1e3,
            "thousand quotes/s, second half": self.half.per_second / 1e3,
            "CPU s per million": self.whole.cpu_per_million,
            "CPU s per million, second half": self.half.cpu_per_million,
            "peak MB": self.peak_bytes / 2**20,
        }


@dataclass(frozen=True)
class _Look:
    at: float
    done: float
    cpu_seconds: float


def watch(running: Sequence[Running], done: Callable[[], float], total: float, quotes: int) -> Cost:
    """Follow processes from their first input record to their last.

    done: records of the input that they are through with so far, of `total`; quotes: how many these hold.
    Raises TimeoutError, and RuntimeError when one of them ends.
    """
    looks: list[_Look] = []
    peak = 0
    while not looks or looks[-1].done < total:
        for one in running:
            one.check()
        peak = max(peak, sum(one.resident_bytes() for one in running))
        reached = done()
        looks.append(_Look(time.monotonic(), reached, sum(one.cpu_seconds() for one in running)))
        if looks[-1].at - looks[0].at > _PATIENCE_SECONDS:
            raise TimeoutError(f"{reached:.0f} of {total:.0f} records after {_PATIENCE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    each = quotes / total
    return Cost(_since(1, looks, each), _since(total / 2, looks, each), peak)


def _since(done: float, looks: Sequence[_Look], quotes_each: float) -> Stretch:
    """From the first look at which so much was done; from the start where everything was done at one look."""
    last = looks[-1]
    first = next((look for look in looks if done <= look.done < last.done), looks[0])
    quotes = (last.done - first.done) * quotes_each
    return Stretch(quotes, last.at - first.at, last.cpu_seconds - first.cpu_seconds)
