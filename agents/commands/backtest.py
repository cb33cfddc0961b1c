"""mm backtest."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from agents.configuration import Configuration, Given, home
from agents.stream.errors import BadConfiguration

if TYPE_CHECKING:
    from agents.backtest.collect import Summary
    from agents.backtest.controls import ControlLine
    from agents.backtest.queue import Progress
    from agents.backtest.report import Sweep
    from agents.backtest.task import Plan

EXIT_CODES = """Exit status: 0 all is done; 1 some tasks failed for good (they are named); 2 an option or a file cannot
be used; 130 stopped by Ctrl-C. What is done is kept: the same command goes on from there."""


def backtest(
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="Parquet files, folders or patterns.")],
    from_: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First date, as 2013-10-07.")] = None,
    to: Annotated[str | None, typer.Option(metavar="DATE", help="Last date.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this symbol; may be repeated.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting, as tau=60s; may be repeated.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="NAME=V,V,…", help="Try every value; several: every combination.")
    ] = None,
    controls: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON lines, as mm controls export writes them.")
    ] = None,
    max_position: Annotated[
        float, typer.Option(metavar="DOLLARS", help="Without --controls: of every symbol.")
    ] = 10_000,
    lot: Annotated[float, typer.Option(metavar="SHARES", help="Without --controls: of every symbol.")] = 100,
    fill: Annotated[
        str | None,
        typer.Option(metavar="touch|size", help="The whole lot, or at most the displayed size; else as cap_by_size."),
    ] = None,
    latency: Annotated[str, typer.Option(metavar="TIME", help="From decision to fill, as 250ms.")] = "0",
    reset: Annotated[bool, typer.Option("--reset/--carry", help="Begin each date flat and cold.")] = False,
    workers: Annotated[str, typer.Option(metavar="N|auto", help="Processes; 1: this one alone.")] = "auto",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://…; its workers see the same files.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="One HTML page.")] = None,
    trades: Annotated[Path | None, typer.Option(metavar="FILE", help="Trades as Parquet.")] = None,
    executions: Annotated[Path | None, typer.Option(metavar="FILE", help="Executions as Parquet.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="All tables as Parquet.")] = None,
    chart: Annotated[
        list[str] | None, typer.Option(metavar="SYMBOL@DATE", help="In the report; else the busiest days.")
    ] = None,
    all_executions: Annotated[bool, typer.Option("--all-executions", help="Those that came to nothing, too.")] = False,
    no_markouts: Annotated[bool, typer.Option("--no-markouts", help="Do not look at prices after trades.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the tasks, do nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what an earlier run has done.")] = False,
    work: Annotated[Path | None, typer.Option(metavar="DIR", help="Keeps what is done; else below MM_HOME.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of mm.toml in this folder.")] = None,
) -> None:
    """Run the strategy over files of quotes, without Kafka; the result is that of the agents."""
    count = _workers(workers)
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if count > 1 and scheduler is None and not dry_run:
        from agents.backtest import fork_server

        # Before all else: it takes as long as what this process imports itself.
        fork_server.begin()
    from agents.backtest.catalog import catalogue, find_files
    from agents.backtest.charts import Chosen
    from agents.backtest.collect import Collector, Outputs
    from agents.backtest.options import full_setting, parse_date, parse_duration, parse_sweep, swept_settings
    from agents.backtest.running import default_folder, forget, run
    from agents.backtest.task import Plan
    from agents.backtest.variant import Options

    given = tuple(full_setting(text) for text in settings or ())
    given += _of_fill(fill)
    base = Configuration(Given(config=config, settings=given)).settings()
    swept = parse_sweep(sweep or ())
    chosen = [Chosen.parse(text) for text in chart or ()]
    symbols = tuple(symbol or ())
    first, last = parse_date("--from", from_), parse_date("--to", to)
    if first and last and first > last:
        raise BadConfiguration(f"--from {first} is after --to {last}")
    catalog = catalogue(find_files(files, first, last, symbols), symbols)
    for one in chosen:
        one.files(catalog)
    plan = Plan(
        settings=swept_settings(base, swept),
        options=Options(parse_duration("--latency", latency), not no_markouts, all_executions),
        controls=_controls(controls, catalog.symbols, max_position, lot),
        carry=not reset,
        folder=(work or default_folder(home())).absolute(),
        catalog=catalog,
    )
    _check_calendars(plan)
    if dry_run:
        _list(plan)
        return
    if fresh:
        forget(plan)
    shown = _Shown()
    with Collector(plan, Outputs(out, trades, executions)) as collector:

        def watch(progress: Progress) -> None:
            shown(progress)
            stop.check()
            collector.advance()

        run(plan, count, scheduler, watch)
        summaries = collector.finish()
    if report is not None:
        from agents.backtest.report import write_report

        write_report(report, plan, swept, summaries, chosen)
    _tell(plan, swept, summaries, [path for path in (out, trades, executions, report) if path])


backtest.__doc__ = f"{backtest.__doc__}\n\n    {EXIT_CODES}"


def _of_fill(fill: str | None) -> tuple[str, ...]:
    if fill not in (None, "touch", "size"):
        raise BadConfiguration(f"--fill {fill}: expected touch or size")
    return () if fill is None else (f"cap_by_size={'true' if fill == 'size' else 'false'}",)


def _workers(text: str) -> int:
    if text == "auto":
        return os.cpu_count() or 1
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise BadConfiguration(f"--workers {text}: expected auto or a number from 1 to 1024")
    return int(text)


def _controls(path: Path | None, symbols: list[str], max_position: float, lot: float) -> tuple[ControlLine, ...]:
    from agents.backtest.controls import read_controls, same_for_all
    from schemas.controls import InvalidControl, make_control, min_fill_shares

    if path is not None:
        return tuple(read_controls(path))
    try:
        control = make_control(max_position_dollars=max_position, lot_shares=lot, size_step=min(1.0, lot))
    except InvalidControl as error:
        raise BadConfiguration(f"--max-position, --lot: {error}") from error
    # Lots below the default would open nothing.
    control = msgspec.structs.replace(control, min_fill_shares=min(min_fill_shares(control), lot))
    return tuple(same_for_all(symbols, control))


def _check_calendars(plan: Plan) -> None:
    """Before any worker starts: a name that no calendar has is an error of the command line."""
    from agents.strategy.session import calendar_of

    for session in {settings.session for settings in plan.settings}:
        try:
            calendar_of(next(settings for settings in plan.settings if settings.session == session))
        except ValueError as error:
            raise BadConfiguration(str(error)) from error


def _list(plan: Plan) -> None:
    from agents.backtest.task import tasks_of

    for task in tasks_of(plan):
        names = " ".join(task.symbols[:6]) + (" …" if len(task.symbols) > 6 else "")
        typer.echo(
            f"{task.name}: {_many(len(task.part.files), 'file')}, {_many(task.part.rows, 'quote')}, "
            f"{_many(len(task.symbols), 'symbol')}: {names}{' (done)' if task.done else ''}"
        )
    days, blocks = len(plan.catalog.days), len(plan.catalog.blocks)
    typer.echo(
        f"{_many(days * blocks, 'task')} ({_many(days, 'date')}, {_many(blocks, 'block')} of symbols), "
        f"{_many(plan.catalog.rows, 'quote')}, {_many(len(plan.settings), 'setting')}, "
        f"{'state carried from date to date' if plan.carry else 'each date anew'}"
    )


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


class _Stop:
    """Handles Ctrl-C and SIGTERM; keeps in mind that they came, as C code that runs a module's import may lose them."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, number: int, frame: object) -> None:
        self._came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has come."""
        if self._came:
            raise KeyboardInterrupt


class _Shown:
    """Progress on stderr: one line that changes on a terminal, a line each tenth elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._tenth = -1

    def __call__(self, progress: Progress) -> None:
        share = progress.rows / progress.rows_total if progress.rows_total else 1.0
        kept = f", {progress.kept} kept from before" if progress.kept else ""
        latest = f": {progress.latest}" if progress.latest else ""
        text = f"{progress.done} of {progress.total} tasks, {share:.0%} of the quotes{kept}{latest}"
        if self._terminal:
            end = "\n" if progress.done == progress.total else ""
            print(f"\r\033[K{text}", end=end, file=sys.stderr, flush=True)
        elif int(share * 10) > self._tenth or progress.done == progress.total:
            self._tenth = int(share * 10)
            print(text, file=sys.stderr, flush=True)


def _tell(plan: Plan, swept: Sweep, summaries: list[Summary], written: list[Path]) -> None:
    for settings, summary in zip(plan.settings, summaries, strict=True):
        totals = summary.totals()
        sharpe = "-" if totals["sharpe"] is None else f"{totals['sharpe']:.2f}"
        values = ", ".join(f"{name}={getattr(settings, name)}" for name in swept.values)
        typer.echo(
            f"{values or settings.hash}: net {totals['net_change']:,.2f}, {totals['trades']:,} trades, "
            f"turnover {totals['turnover']:,.0f}, largest fall {totals['max_drawdown']:,.2f}, Sharpe {sharpe}"
        )
    for path in written:
        typer.echo(f"written: {path}")
