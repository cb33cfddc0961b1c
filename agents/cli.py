"""The mm command: what there is, how errors are told, how the log looks."""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until everything is loaded Ctrl-C just ends the process, where Python would show what it was loading.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agents import __version__
from agents.commands import (
    agents,
    backtest,
    bench,
    broker,
    chaos,
    controls,
    dashboard,
    data,
    demo,
    doctor,
    feed,
    schemas,
    surveillance,
    tail,
)
from agents.stream.errors import BadConfiguration, StreamError

USAGE_ERROR = 2
INTERRUPTED = 130
UNEXPECTED = 70
_UsageError: Any = typer.BadParameter.__base__

log = logging.getLogger(__name__)


class _Commands(TyperGroup):
    """Runs a command; every error ends as one line on stderr and an exit status of its kind."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, then exit."""
        extra["standalone_mode"] = False
        _open_what_is_closed()
        try:
            status = super().main(*args, **extra)
        except _UsageError as error:
            status = _fail(_usage(error), USAGE_ERROR)
        except StreamError as error:
            status = _fail(str(error), error.exit_status)
        except KeyboardInterrupt:
            status = INTERRUPTED
        except Exception as error:
            status = _unexpected(error)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a reader that leaves early (``mm tail trades | head``) is no error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere: Python would complain when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        return result


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    add_completion=False,
    help="A market maker that lives on Kafka.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mm {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, the Kafka client's words too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    set_up_logging(verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command()(demo.demo)
app.add_typer(broker.broker, name="broker")
app.add_typer(broker.topics, name="topics")
app.add_typer(feed.feed, name="feed")
app.command()(agents.signals)
app.command()(agents.execution)
app.command()(agents.portfolio)
app.command()(surveillance.surveillance)
app.command()(agents.run)
app.add_typer(controls.controls, name="controls")
app.command()(dashboard.dashboard)
app.command()(backtest.backtest)
app.add_typer(data.imports, name="import")
app.command()(data.record)
app.command()(chaos.chaos)
app.command()(bench.bench)
app.command()(tail.tail)
app.command()(doctor.doctor)
app.command()(schemas.schemas)


def _open_what_is_closed() -> None:
    """Streams that the caller has closed (``>&-``): a socket would get the number of one, and be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if number == 0 else "w"))


class _Stderr(logging.StreamHandler[Any]):
    """To what is stderr at the time: the demo's view takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up_logging(verbose: bool) -> None:
    """One line a message on stderr, with the name of the agent where a supervisor gave one."""
    name = os.environ.get("MM_AGENT")
    where = f" {name}:" if name else ""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname).1s{where} %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    if not verbose:
        for other in ("numba", "asyncio", "exchange_calendars"):
            logging.getLogger(other).setLevel(logging.WARNING)
        # It tells of each attempt to connect; what matters reaches the command as an error.
        logging.getLogger("librdkafka").setLevel(logging.CRITICAL)


def _usage(error: Any) -> str:
    context = error.ctx
    path = context.command_path if context is not None else "mm"
    return f"{error.format_message()} (see {path} --help)".replace("\n", " ")


def _fail(message: str, status: int) -> int:
    print(f"mm: {message}", file=sys.stderr)
    return status


def _unexpected(error: Exception) -> int:
    from agents.commands.broker import is_broker_error

    if is_broker_error(error):
        return _fail(str(error), 1)
    if isinstance(error, ModuleNotFoundError) and os.environ.get("MM_CONTAINER"):
        missing = (error.name or str(error)).partition(".")[0]
        return _fail(f"the image leaves out {missing}, which this command needs: run it from a checkout, with ./mm", 1)
    if isinstance(error, RuntimeError) and "no locator available" in str(error):
        # numba's, at the import of whatever is compiled; each start would compile anew, and an agent be ended for it.
        where = "neither beside their sources nor in the home folder's cache may it be written"
        remedy = "name a folder that may: export NUMBA_CACHE_DIR=/a/folder"
        return _fail(f"compiled code can be kept nowhere: {where}; {remedy}", BadConfiguration.exit_status)
    if os.environ.get("MM_DEBUG"):
        log.exception("unexpected")
    else:
        log.debug("unexpected", exc_info=error)
    return _fail(f"unexpected {type(error).__name__}: {error} (MM_DEBUG=1 shows where)", UNEXPECTED)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="mm")
