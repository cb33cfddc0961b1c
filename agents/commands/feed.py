"""mm feed."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.options import configured
from agents.configuration import Configuration
from agents.stream.errors import BadConfiguration

if TYPE_CHECKING:
    from agents.feeds.receiver import Counts
    from agents.feeds.session import Progress, Summary
    from agents.feeds.wire import Wire

INTERRUPTED = 130

feed = typer.Typer(help="Where quotes come from.")

Format = Annotated[str, typer.Option("--format", metavar="json|arrow", help="One quote a record, or frames of many.")]


def _feed_name(name: str | None) -> str | None:
    from schemas.records import MAX_FEED_CHARACTERS

    if name is not None and len(name) > MAX_FEED_CHARACTERS:
        raise BadConfiguration(f"--feed {name}: give a name of at most {MAX_FEED_CHARACTERS} characters")
    return name


Name = Annotated[str, typer.Option("--feed", metavar="NAME", callback=_feed_name, help="In the feed's clock records.")]


@feed.command()
@configured
def synthetic(
    configuration: Configuration,
    symbols: Annotated[int, typer.Option(min=1, help="The first is AAPL, then GOOG, BAC, …")] = 10,
    rate: Annotated[float, typer.Option(help="Quotes a second, of all symbols together.")] = 100.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    preroll: Annotated[float, typer.Option(metavar="SECONDS", help="History to send first, at full speed.")] = 0.0,
    seconds: Annotated[float | None, typer.Option(help="Then end; else at Ctrl-C.")] = None,
    bad: Annotated[float, typer.Option(metavar="FRACTION", help="Share of rows that no agent can use.")] = 0.0,
    format_: Format = "json",
    feed: Name = "synthetic",
) -> None:
    """Send made-up quotes at the market's pace."""
    from agents.feeds import synthetic as source
    from agents.feeds.generator import WalkSettings
    from agents.feeds.session import stop_on_signals

    settings = source.SyntheticSettings(
        walk=WalkSettings(symbols=symbols, rate=rate, seed=seed, bad_fraction=bad),
        seconds=seconds,
        preroll_seconds=preroll,
        feed=feed,
        wire=_wire(format_),
    )
    with stop_on_signals() as stop:
        _report(source.run(configuration.kafka(), settings, _Meter(), stop))


@feed.command()
@configured
def replay(
    configuration: Configuration,
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help=".csv, .csv.gz or .parquet")],
    speed: Annotated[str, typer.Option(metavar="X|max", help="1: as it was; 60: a minute a second.")] = "max",
    format_: Format = "json",
    feed: Name = "replay",
) -> None:
    """Send the quotes of files, merged by their times."""
    from agents.feeds import replay as source
    from agents.feeds.session import stop_on_signals

    settings = source.ReplaySettings(speed=_speed(speed), feed=feed, wire=_wire(format_))
    with stop_on_signals() as stop:
        summary = source.run(configuration.kafka(), files, settings, _Meter(), stop)
    _report(summary)
    if not summary.ended:
        raise typer.Exit(INTERRUPTED)


@feed.command()
@configured
def live(
    configuration: Configuration,
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOLS...", help="BASE-QUOTE, as BTC-USD")],
    source: Annotated[str, typer.Option(metavar="coinbase|binance|kraken", help="Whose quotes.")],
    seconds: Annotated[float | None, typer.Option(help="Then end; else at Ctrl-C.")] = None,
    stall: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Without any message, then connect anew; 10, binance 900.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Another server that speaks as the exchange does.")] = None,
    feed: Annotated[
        str | None,
        typer.Option(
            "--feed", metavar="NAME", callback=_feed_name, help="In the feed's clock records; else the source."
        ),
    ] = None,
) -> None:
    """Send an exchange's public quotes as they come."""
    from agents.feeds import live as exchange
    from agents.feeds.session import stop_on_signals

    settings = exchange.LiveSettings(source, symbols, url, feed, seconds, stall)
    with stop_on_signals() as stop:
        sent = exchange.run(configuration.kafka(), settings, _Meter(), stop)
    _report(sent.summary)
    typer.echo(_troubles(sent.counts))


def _troubles(counts: Counts) -> str:
    return (
        f"{counts.reconnects} reconnects, {counts.stalls} stalls, {counts.gaps} gaps, "
        f"{counts.out_of_order} out of order, {counts.garbage} messages left out"
    )


def _wire(text: str) -> Wire:
    from agents.feeds.wire import Wire

    kinds = {"json": Wire.JSON, "arrow": Wire.FRAMES}
    if text not in kinds:
        raise BadConfiguration(f"--format {text}: give json or arrow")
    return kinds[text]


def _speed(text: str) -> float | None:
    """Seconds of event time a second, None for as fast as it goes."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise BadConfiguration(f"--speed {text}: give a number above 0, or max")
    return speed


class _Meter:
    """Shows progress on stderr: over itself on a terminal, else a line now and then."""

    _LINE_SECONDS = 5.0

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if _in_background() if self._tty else now < self._next:
            return
        self._next = now + self._LINE_SECONDS
        _show(f"\r\033[K{_line(progress)}" if self._tty else f"{_line(progress)}\n")


def _show(text: str) -> None:
    """On stderr, if there is still somebody who reads it: a feed goes on without."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _in_background() -> bool:
    """Whether the terminal shows something else, which a line over itself would wipe out: another job of its shell, or
    what those do whose terminal it is.
    """
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) != os.getpgrp()
    except OSError:  # not this process's terminal
        return True


def _line(progress: Progress) -> str:
    from schemas.times import rfc3339

    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    return f"{progress.quotes:,} quotes, {progress.quotes_per_second:,.0f}/s, at {rfc3339(progress.ts)[:19]}Z{left}"


def _report(summary: Summary) -> None:
    if sys.stderr.isatty() and not _in_background():
        _show("\r\033[K")
    rate = summary.quotes / summary.seconds if summary.seconds else 0.0
    ended = "" if summary.ended else ", interrupted"
    typer.echo(f"{summary.quotes:,} quotes in {summary.seconds:.1f} s, {rate:,.0f}/s{ended}")
