"""Synthetic quotes: a seeded, mean-reverting random walk a symbol, with bursts, quiet symbols and bad rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numba as nb
import numpy as np

from agents.feeds.quotes import CUT, FIELD_MISSING, Quotes
from agents.stream.errors import BadConfiguration
from schemas.times import NS

_CHUNK = 8_192
_PRICES = {
    "AAPL": 190.0,
    "GOOG": 140.0,
    "BAC": 29.0,
    "MSFT": 375.0,
    "AMZN": 145.0,
    "NVDA": 480.0,
    "TSLA": 240.0,
    "JPM": 153.0,
    "IBM": 155.0,
    "SPY": 455.0,
}
_QUIET_EVERY = 10  # of ten symbols the ninth, as IBM
_QUIET_WEIGHT = 0.005
_BURST_ROWS = 32
_BURST_CHANCE = 0.05
_BURST_GAP = 0.02
_MS = 1_000_000
_REVERSION_SECONDS = 40.0
_LEAST_CENTS = 200.0
_LATE_NS = 5 * NS
_BAD_KINDS = 7


@dataclass(frozen=True)
class WalkSettings:
    """What is generated: the same settings and start give the same quotes, bit for bit.

    symbols: how many; rate: quotes/s of all together, on average; bad_fraction: share of rows that no agent can
    use (zero, negative and missing prices, no size, late, cut short, a field missing).
    """

    symbols: int = 10
    rate: float = 100.0
    seed: int = 1
    bad_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.symbols < 1:
            raise BadConfiguration(f"symbols must be at least 1, not {self.symbols}")
        if not 0 < self.rate < math.inf:
            raise BadConfiguration(f"rate must be a number above 0, not {self.rate}")
        if not 0 <= self.bad_fraction <= 1:
            raise BadConfiguration(f"bad_fraction must be from 0 to 1, not {self.bad_fraction}")


def symbol_names(count: int) -> list[str]:
    """The names of that many symbols: ten known ones, then S0010, S0011, …"""
    return [*_PRICES, *(f"S{i:04d}" for i in range(len(_PRICES), count))][:count]


def walk(settings: WalkSettings, start_ts: int) -> Iterator[Quotes]:
    """Quotes from start_ts (ns) on, without end, sorted by promise."""
    return _Walk(settings, start_ts).chunks()


def until(chunks: Iterator[Quotes], end_ts: int) -> Iterator[Quotes]:
    """The rows that promise less than end_ts."""
    for chunk in chunks:
        rows = int(np.searchsorted(chunk.promise, end_ts))
        if rows:
            yield chunk.take(slice(0, rows))
        if rows < len(chunk):
            return


class _Walk:
    def __init__(self, settings: WalkSettings, start_ts: int) -> None:
        self._settings = settings
        self._random = np.random.default_rng(settings.seed)
        # of its own, so that the good rows are the same with bad ones among them
        self._bad = np.random.default_rng([settings.seed, 1])
        self._symbols = symbol_names(settings.symbols)
        self._shares = _shares(settings.symbols, self._random)
        self._start_ts = start_ts
        self._seconds = 0.0
        self._latest_ts = start_ts
        others = self._random.uniform(10.0, 400.0, settings.symbols)
        prices = [_PRICES.get(name, price) for name, price in zip(self._symbols, others, strict=True)]
        self._level = np.array(prices) * 100
        self._away = np.zeros(settings.symbols)
        self._last_ts = np.full(settings.symbols, start_ts)
        # cents a square root of a second: a minute's deviation of a few spreads, more for dear shares
        self._volatility = 0.7 + self._level / 30_000

    def chunks(self) -> Iterator[Quotes]:
        while True:
            yield self._damaged(self._chunk())

    def _chunk(self) -> Quotes:
        random = self._random
        ts = self._times()
        number = np.searchsorted(self._shares, random.random(_CHUNK), "right").astype(np.int32)
        cents = np.empty(_CHUNK)
        noise = random.standard_normal((2, _CHUNK))
        _wander(number, ts, noise[0], noise[1], self._volatility, self._level, self._away, self._last_ts, cents)
        spread = random.integers(1, 4, _CHUNK)
        bid = np.floor(cents - spread / 2)
        bid_size, ask_size = random.integers(1, 31, (2, _CHUNK)) * 100.0
        prices = bid / 100, bid_size, (bid + spread) / 100, ask_size
        return Quotes(self._symbols, number, ts, *prices, ts.copy(), np.zeros(_CHUNK, np.uint8))

    def _times(self) -> np.ndarray:
        """Poisson arrivals; in a burst they come fifty times as fast and are stamped to the millisecond."""
        blocks = _CHUNK // _BURST_ROWS
        burst = np.repeat(self._random.random(blocks) < _BURST_CHANCE, _BURST_ROWS)
        usual_gap = (1 - _BURST_CHANCE * _BURST_GAP) / (1 - _BURST_CHANCE)
        gaps = self._random.standard_exponential(_CHUNK) * np.where(burst, _BURST_GAP, usual_gap)
        seconds = self._seconds + np.cumsum(gaps / self._settings.rate)
        self._seconds = float(seconds[-1])
        ts = self._start_ts + np.rint(seconds * NS).astype(np.int64)
        ts[burst] -= ts[burst] % _MS
        ts = np.maximum.accumulate(np.maximum(ts, self._latest_ts))
        self._latest_ts = int(ts[-1])
        return ts

    def _damaged(self, rows: Quotes) -> Quotes:
        if not self._settings.bad_fraction:
            return rows
        bad = self._bad.random(_CHUNK) < self._settings.bad_fraction
        kind = np.where(bad, self._bad.integers(0, _BAD_KINDS, _CHUNK), _BAD_KINDS)
        rows.bid[kind == 0] = 0.0
        rows.ask[kind == 1] *= -1
        rows.bid[kind == 2] = np.nan
        rows.ask_size[kind == 3] = 0.0
        rows.ts[kind == 4] -= _LATE_NS
        rows.defect[kind == 5] = CUT
        rows.defect[kind == 6] = FIELD_MISSING
        return rows


def _shares(symbols: int, random: np.random.Generator) -> np.ndarray:
    """Cumulated shares of the quotes, by symbol."""
    weights = random.uniform(0.5, 1.5, symbols)
    weights[_QUIET_EVERY - 2 :: _QUIET_EVERY] *= _QUIET_WEIGHT
    shares: np.ndarray = np.cumsum(weights) / weights.sum()
    shares[-1] = 1.0
    return shares


@nb.njit(cache=True, nogil=True)
def _wander(
    number: np.ndarray,
    ts: np.ndarray,
    noise: np.ndarray,
    slow_noise: np.ndarray,
    volatility: np.ndarray,
    level: np.ndarray,
    away: np.ndarray,
    last_ts: np.ndarray,
    cents: np.ndarray,
) -> None:
    """Mid prices in cents, row by row, and each symbol's state after its last row.

    `away` swings around a `level` that wanders slowly itself; both scale with time, not with the number of rows.
    """
    for i in range(len(number)):
        s = number[i]
        seconds = (ts[i] - last_ts[s]) / 1e9
        last_ts[s] = ts[i]
        root = math.sqrt(min(seconds, _REVERSION_SECONDS)) * volatility[s]
        away[s] = away[s] * (_REVERSION_SECONDS / (_REVERSION_SECONDS + seconds)) + root * noise[i]
        level[s] = max(level[s] + 0.1 * root * slow_noise[i], _LEAST_CENTS)
        cents[i] = max(level[s] + away[s], _LEAST_CENTS)
