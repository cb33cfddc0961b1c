"""mm tail."""

from __future__ import annotations

import select
import sys
from enum import StrEnum
from typing import Annotated

import typer

from agents.commands.options import configured
from agents.configuration import Configuration
from agents.stream.errors import BadConfiguration

_POLL_SECONDS = 0.2


class Start(StrEnum):
    """Where reading starts."""

    BEGINNING = "beginning"
    END = "end"


@configured
def tail(
    configuration: Configuration,
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    symbol: Annotated[str | None, typer.Option(help="Only this key.")] = None,
    start: Annotated[Start, typer.Option("--from", help="Where to start.")] = Start.END,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many lines.")] = None,
) -> None:
    """Print committed records of a topic as JSON lines, until Ctrl-C."""
    from agents.commands.lines import lines
    from agents.stream.watch import Watcher
    from schemas.topics import TOPICS

    if topic not in TOPICS:
        raise BadConfiguration(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}")
    left = limit
    reader = Watcher(configuration.kafka(), [topic], from_beginning=start is Start.BEGINNING)
    try:
        while True:
            for message in reader.poll(_POLL_SECONDS):
                for line in lines(topic, message, symbol):
                    sys.stdout.write(line + "\n")
                    left = left and left - 1
                    if left == 0:
                        return
            sys.stdout.flush()
            if _nobody_reads():
                return
    except KeyboardInterrupt:
        return
    finally:
        reader.close()


def _nobody_reads() -> bool:
    """Whether stdout is a pipe that was closed at its other end, which else would show at the next line only."""
    try:
        stdout = sys.stdout.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(stdout, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
