"""mm chaos."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

FAILED = 1


def chaos(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILES]...", help="Quotes of real days; else made-up ones.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeats a run's input and faults.")] = None,
    minutes: Annotated[float, typer.Option(min=0.2, help="Under faults; more on a slow machine.")] = 3.0,
    full: Annotated[bool, typer.Option("--full", help="200 kills and pauses, 30 broker and network faults.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder of logs, also of a good run.")] = False,
) -> None:
    """Kill, stop and cut off agents and broker, then prove that nothing was lost and nothing came twice."""
    from agents.chaos.run import ChaosSettings, event_seconds, run

    number = secrets.randbelow(1_000_000) if seed is None else seed
    length = max(minutes, FULL_MINUTES) if full else minutes
    settings = ChaosSettings(number, length, files=tuple(files or ()))
    if files:
        settings = ChaosSettings(number, length, event_seconds(tuple(files)) / (60 * length), files=tuple(files))
    folder = Path(tempfile.mkdtemp(prefix="mm-chaos-"))
    typer.echo(f"seed {number}, {length:g} minutes under faults, logs in {folder}")
    began = time.monotonic()

    def note(text: str) -> None:
        typer.echo(f"{time.monotonic() - began:7.1f} s  {text}")

    def interrupt(number: int, _: object) -> None:
        note(f"ended by {signal.Signals(number).name}, nothing is checked")
        raise KeyboardInterrupt

    for ending in (signal.SIGTERM, signal.SIGINT):  # processes and file system are cleaned up on the way out
        signal.signal(ending, interrupt)
    try:
        outcome = run(settings, folder, note)
    except KeyboardInterrupt:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    typer.echo(f"faults: {_listed(outcome.faults)}")
    typer.echo(f"agents that ended (role, status): {_listed(outcome.statuses)}")
    for check in outcome.checks:
        typer.echo(check.line)
    typer.echo(f"seed {number}: {'all checks hold' if outcome.good else 'FAILED'} ({time.monotonic() - began:.0f} s)")
    if not outcome.good:
        typer.echo(f"logs are in {folder}", err=True)
        raise typer.Exit(FAILED)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


FULL_MINUTES = 16.0


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
