"""A small seeded market for the tests: quotes, clocks, and what the strategy makes of them without Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from schemas.times import NS

START = 1_767_623_400 * NS
SYMBOLS = ("AAPL", "GOOG", "BAC", "MSFT", "IBM", "SPY")


def quotes(
    seconds: int = 300,
    per_second: int = 3,
    symbols: Sequence[str] = SYMBOLS,
    seed: int = 1,
    start: int = START,
    end: bool = True,
) -> Iterator[dict[str, Any]]:
    """Quotes of a random walk in cents with a clock each second, and an end clock."""
    random = np.random.default_rng(seed)
    price = dict.fromkeys(symbols, 10_000)
    for second in range(seconds):
        begin = start + second * NS
        yield {"clock": begin, "feed": "test"}
        times = np.sort(random.integers(0, NS, per_second * len(symbols)))
        for at in times.tolist():
            symbol = symbols[random.integers(len(symbols))]
            price[symbol] += int(random.integers(-3, 4))
            bid = price[symbol] / 100
            yield {
                "symbol": symbol,
                "ts": begin + at,
                "bid": bid,
                "bid_size": int(random.integers(1, 40)) * 100,
                "ask": round(bid + 0.02, 2),
                "ask_size": int(random.integers(1, 40)) * 100,
            }
    if end:
        yield {"clock": start + seconds * NS, "feed": "test", "end": True}
