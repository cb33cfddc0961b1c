"""Quotes as fast as the machine gives them, a bounded number ahead of the signals agent.

`python -m benchmarks.flood BOOTSTRAP PREFIX SYMBOLS`, until it is ended.
"""

from __future__ import annotations

import sys
import time

from agents.feeds.generator import WalkSettings, walk
from agents.feeds.publisher import QuotePublisher
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.publish import Publisher
from benchmarks.committed import committed
from benchmarks.quotes import START
from schemas.topics import QUOTES

_AHEAD = 1_000_000
_PER_SYMBOL_SECOND = 20.0


def main(bootstrap: str, prefix: str, symbols: str) -> None:
    """Run until SIGTERM."""
    config = KafkaConfig(bootstrap, prefix)
    publisher = Publisher(config, QUOTES)
    feed = QuotePublisher(publisher, "flood", Wire.JSON)
    taken = committed(config, config.name("signals"), config.name(QUOTES.name))
    bound = taken() + _AHEAD
    for chunk in walk(WalkSettings(int(symbols), int(symbols) * _PER_SYMBOL_SECOND), START):
        while feed.quotes > bound:
            time.sleep(0.01)
            bound = taken() + _AHEAD
        feed.publish(chunk)


if __name__ == "__main__":
    main(*sys.argv[1:])
