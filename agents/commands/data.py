"""mm import, mm record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import with_settings
from agents.configuration import Configuration
from agents.stream.errors import BadConfiguration

imports = typer.Typer(help="Quotes into Parquet files for backtests, by date and symbol.")

Files = Annotated[list[Path], typer.Argument(metavar="FILES...")]
Target = Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder of the Parquet files.")]
Zone = Annotated[str | None, typer.Option(metavar="NAME", help="Time zone whose dates divide the files.")]


@imports.command()
def lobster(files: Files, to: Target, zone: Zone = None) -> None:
    """Order books of LOBSTER; the message files lie beside them."""
    _import("lobster", [file for file in files if "_message_" not in file.name], to, zone)


@imports.command()
def lean(files: Files, to: Target, zone: Zone = None) -> None:
    """Equity quotes of Lean: tick, second or minute zip files."""
    _import("lean", files, to, zone)


@imports.command()
def binance(files: Files, to: Target, zone: Zone = None) -> None:
    """Book ticker files of Binance's public archive."""
    _import("binance", files, to, zone)


@imports.command()
def csv(
    files: Files,
    to: Target,
    zone: Zone = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COLUMN", help="Where the file calls bid, … otherwise.")
    ] = None,
    unit: Annotated[str, typer.Option(metavar="ns|us|ms|s", help="Of numeric times.")] = "ns",
    symbol: Annotated[str | None, typer.Option(help="Of all rows, where no column has it.")] = None,
) -> None:
    """CSV, CSV.gz or Parquet files with ts, symbol, bid, bid_size, ask, ask_size, in any order of the rows."""
    from agents.backtest.importers import CsvOptions, csv_reader

    columns = {}
    for text in column or ():
        name, equals, there = text.partition("=")
        if not equals:
            raise BadConfiguration(f"--column {text}: expected NAME=COLUMN, as bid=bid_price")
        columns[name] = there
    _import("csv", files, to, zone, csv_reader(CsvOptions(columns, unit, symbol)))


@imports.command()
def synthetic(
    to: Target,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Its sessions are filled.")] = "2024-11",
    exchange: Annotated[str, typer.Option(help="Whose sessions.")] = "XNYS",
    symbols: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    rate: Annotated[float, typer.Option(min=0.001, help="Quotes a second of all symbols together.")] = 50.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """A month of made-up quotes."""
    from agents.backtest.synthetic import month_of_quotes
    from agents.feeds.generator import WalkSettings

    total = 0
    for date, quotes in month_of_quotes(to, month, exchange, WalkSettings(symbols=symbols, rate=rate, seed=seed)):
        typer.echo(f"{date}: {quotes} quotes", err=True)
        total += quotes
    typer.echo(f"{total} quotes written below {to}")


def _import(kind: str, files: list[Path], to: Path, zone: str | None, reader: object = None) -> None:
    from agents.backtest.importers import READERS, default_zone, import_files

    total = 0
    for path, written in import_files(reader or READERS[kind], files, to, zone or default_zone(kind)):  # type: ignore[arg-type]
        typer.echo(f"{path}: {written.quotes} quotes into {written.files} files", err=True)
        total += written.quotes
    typer.echo(f"{total} quotes written below {to}")


@with_settings
def record(
    configuration: Configuration,
    to: Target,
    zone: Annotated[str, typer.Option(metavar="NAME", help="Time zone whose dates divide the files.")] = "UTC",
    every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How often files are written.")] = 60.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long; else Ctrl-C.")] = None,
) -> None:
    """Write live quotes into Parquet files, each usable one exactly once; goes on where it stopped."""
    import signal
    import threading
    import time

    from agents.record import Recorded, RecordSettings
    from agents.record import record as run

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ends = None if seconds is None else time.monotonic() + seconds

    def stopping() -> bool:
        return stop.is_set() or (ends is not None and time.monotonic() >= ends)

    def tell(done: Recorded) -> None:
        typer.echo(f"{done.quotes} quotes in {done.files} files, {done.skipped} not usable", err=True)

    settings = RecordSettings(folder=to, zone=zone, seconds=every)
    tell(run(configuration.kafka(), settings, configuration.settings(), stopping, tell))
