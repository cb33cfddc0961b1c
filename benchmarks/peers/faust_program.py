"""Quotes to signals in Faust, at least once: `faust_program.py BOOTSTRAP QUOTES SIGNALS GROUP FOLDER PARTITIONS`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import faust
from rule import is_quote, step


def application(bootstrap: str, quotes: str, signals: str, group: str, folder: str, partitions: int) -> faust.App:
    """The app with its one agent."""
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        datadir=folder,
        store="memory://",
        topic_partitions=partitions,
        table_standby_replicas=0,
        topic_disable_leader=True,
        web_enabled=False,
        broker_commit_interval=0.1,
        producer_linger=0.02,  # without it every record is a request of its own: half the speed
        stream_recovery_delay=0.0,
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(quotes, value_serializer="json")
    target = app.topic(signals, key_serializer="raw", value_serializer="json")
    moments = app.Table("moments", partitions=partitions)

    @app.agent(source)
    async def decide(stream: AsyncIterator[dict[str, Any]]) -> None:
        async for quote in stream:
            if not is_quote(quote):
                continue
            symbol = quote["symbol"]
            moments[symbol], fired = step(moments.get(symbol), quote)
            for signal in fired:
                await target.send(key=symbol.encode(), value=signal)

    return app


if __name__ == "__main__":
    arguments = sys.argv[1:]
    app = application(*arguments[:5], partitions=int(arguments[5]))
    app.finalize()
    sys.argv[1:] = ["worker", "--loglevel", "warn", "--without-web"]
    app.main()
