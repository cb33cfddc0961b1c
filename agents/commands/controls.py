"""mm controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from agents.commands.options import with_settings
from agents.configuration import Configuration
from agents.stream.errors import BadConfiguration
from schemas.records import Control, State

if TYPE_CHECKING:
    from agents.controls.operator import Written

_NONE = "none"

controls = typer.Typer(help="What the desk may do, symbol by symbol.")

Symbol = Annotated[str, typer.Argument(metavar="SYMBOL")]
OptionalSymbol = Annotated[str | None, typer.Argument(metavar="[SYMBOL]")]
All = Annotated[bool, typer.Option("--all", help="Every symbol, by the control *.")]


@controls.command("set")
@with_settings
def set_(
    configuration: Configuration,
    symbol: Symbol,
    max_position: Annotated[float | None, typer.Option(metavar="DOLLARS", help="Bound on |position|·price.")] = None,
    lot: Annotated[float | None, typer.Option(metavar="SHARES", help="Largest fill.")] = None,
    size_step: Annotated[float | None, typer.Option(metavar="SHARES", help="Fills are multiples of it.")] = None,
    min_fill: Annotated[float | None, typer.Option(metavar="SHARES", help="Smaller fills do not open.")] = None,
    max_loss: Annotated[
        str | None, typer.Option(metavar="DOLLARS|none", help="REDUCING once net is below minus this.")
    ] = None,
    allow_short: Annotated[bool | None, typer.Option("--allow-short/--no-short")] = None,
    state: Annotated[State | None, typer.Option(case_sensitive=False)] = None,
    effective_from: Annotated[
        str | None, typer.Option(metavar="TIME|none", help="Event time, RFC 3339 or ns; none: as soon as it is read.")
    ] = None,
) -> None:
    """Change what is given of a symbol's control, or make one; the other fields stay as they are."""
    from agents.controls import operator

    given = {
        "max_position_dollars": max_position,
        "lot_shares": lot,
        "size_step": size_step,
        "min_fill_shares": min_fill,
        "allow_short": allow_short,
        "state": state,
    }
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if max_loss is not None:
        changes["max_loss_dollars"] = _dollars_or_none("max_loss_dollars", max_loss)
    if effective_from is not None:
        changes["effective_from"] = None if effective_from.lower() == _NONE else operator.parse_time(effective_from)
    if not changes:
        raise BadConfiguration("nothing to set; see mm controls set --help")
    _show(operator.set_control(configuration.kafka(), symbol, changes, configuration.settings().decision_seconds))


@controls.command("list")
@with_settings
def list_(
    configuration: Configuration, as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False
) -> None:
    """Show the newest control of every symbol."""
    from agents.controls import operator

    held = operator.read_controls(configuration.kafka())
    if as_json:
        for row in held.values():
            typer.echo(
                json.dumps(msgspec.to_builtins({"key": row.key, "version": row.version, "control": row.control}))
            )
        return
    _table(
        ("symbol", "version", *Control.__struct_fields__),
        [
            [row.key, str(row.version), *(_cell(getattr(row.control, name, "")) for name in Control.__struct_fields__)]
            for row in held.values()
        ],
    )


@controls.command()
@with_settings
def remove(configuration: Configuration, symbol: Symbol) -> None:
    """Take a symbol out of the universe; its position stays."""
    from agents.controls import operator

    _show(operator.remove(configuration.kafka(), symbol, configuration.settings().decision_seconds))


@controls.command()
@with_settings
def halt(configuration: Configuration, symbol: OptionalSymbol = None, all_: All = False) -> None:
    """Stop filling, for one symbol or for all."""
    from agents.controls import operator

    kafka, seconds = configuration.kafka(), configuration.settings().decision_seconds
    one = _one(symbol, all_)
    _show(operator.set_state(kafka, one, State.HALTED, seconds) if one else operator.halt_all(kafka, seconds))


@controls.command()
@with_settings
def resume(configuration: Configuration, symbol: OptionalSymbol = None, all_: All = False) -> None:
    """Make one symbol ACTIVE, or lift what bounds all."""
    from agents.controls import operator

    kafka, seconds = configuration.kafka(), configuration.settings().decision_seconds
    one = _one(symbol, all_)
    _show(operator.set_state(kafka, one, State.ACTIVE, seconds) if one else operator.resume_all(kafka, seconds))


@controls.command()
@with_settings
def export(
    configuration: Configuration,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of the terminal.")] = None,
) -> None:
    """Write every known version with the times at which it held, as JSON lines."""
    from agents.controls import export as control_export

    lines = [json.dumps(row) for row in control_export.export(configuration.kafka())]
    if to is None:
        for line in lines:
            typer.echo(line)
        return
    try:
        to.write_text("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise BadConfiguration(f"cannot write {to}: {error.strerror}") from error
    typer.echo(f"{len(lines)} versions written to {to}", err=True)


def _one(symbol: str | None, every: bool) -> str | None:
    """The symbol, None for all. Raises BadConfiguration unless it is one or the other."""
    if (symbol is None) != every:
        raise BadConfiguration("give a symbol or --all, one of the two")
    return symbol


def _dollars_or_none(name: str, text: str) -> float | None:
    if text.lower() == _NONE:
        return None
    try:
        return float(text)
    except ValueError:
        raise BadConfiguration(f"{name}: expected dollars or none, not {text!r}") from None


def _show(written: Written) -> None:
    control = "removed" if written.control is None else msgspec.json.encode(written.control).decode()
    typer.echo(f"{written.key} version {written.version}: {control}; {written.holds}")
    if written.warning and isinstance(written.control, Control):
        lot = f"{written.control.lot_shares:.10g}"
        typer.echo(
            f"{written.warning}; to open with such lots: mm controls set {written.key} --min-fill {lot}", err=True
        )


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _table(header: tuple[str, ...], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
