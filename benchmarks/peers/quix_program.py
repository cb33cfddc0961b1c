"""Quotes to signals in Quix Streams, exactly once: `quix_program.py BOOTSTRAP QUOTES SIGNALS GROUP FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State
from rule import is_quote, step


def update(quote: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """Move a symbol's moments; the signals that this fires."""
    moments, signals = step(state.get("moments"), quote)
    state.set("moments", moments)
    return signals


def main(bootstrap: str, quotes: str, signals: str, group: str, folder: str) -> None:
    """Run until SIGTERM."""
    application = Application(
        broker_address=bootstrap,
        consumer_group=group,
        state_dir=folder,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=0.1,
        loglevel="WARNING",
        consumer_extra_config={"queued.min.messages": 500_000, "fetch.queue.backoff.ms": 5, "check.crcs": False},
    )
    source = application.topic(quotes, value_deserializer="json", key_deserializer="str")
    target = application.topic(signals, value_serializer="json", key_serializer="str")
    application.dataframe(source).filter(is_quote).apply(update, stateful=True, expand=True).to_topic(target)
    application.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
