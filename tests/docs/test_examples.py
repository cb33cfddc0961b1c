"""The examples run as they are: other programs read trades, change controls, send quotes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents.controls.operator import read_controls
from deploy.java import find_java
from deploy.kafka_jars import cache_folder, fetch, pinned_jars
from deploy.ports import free_port
from schemas.partitioning import partition_of
from schemas.records import Control, State
from schemas.topics import QUOTES, TRADES
from tests.integration import market
from tests.integration.pipeline import Pipeline, wait_until
from tests.kafka import Kafka

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SECONDS = 60.0


@pytest.fixture
def desk(kafka: Kafka, prefix: str) -> Iterator[Pipeline]:
    """A desk with topics and nothing in them."""
    made = Pipeline(kafka.bootstrap, prefix)
    made.create_topics()
    yield made
    made.stop()


@pytest.fixture
def traded(desk: Pipeline) -> Pipeline:
    """A desk that has traded, one symbol in fractions whose sums floating point numbers do not hit."""
    for symbol in market.SYMBOLS:
        desk.control(symbol, Control(max_position_dollars=50_000))
    desk.control(
        market.SYMBOLS[0], Control(max_position_dollars=50_000, lot_shares=0.1, size_step=0.1, min_fill_shares=0.1)
    )
    desk.quotes(market.quotes())
    desk.start_all()
    desk.wait_until_drained()
    return desk


@pytest.fixture(scope="session")
def jars() -> Path:
    """The folder of Kafka's jars, which only the embedded broker would have fetched."""
    fetch(pinned_jars(), cache_folder())
    return cache_folder()


def first_lines(command: list[str], count: int, environment: dict[str, str] | None = None) -> list[dict]:
    """The first lines of a program that goes on for ever."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    try:
        assert program.stdout is not None
        return [json.loads(program.stdout.readline()) for _ in range(count)]
    finally:
        program.kill()
        program.communicate()


def by_id(trades: list[dict]) -> list[dict]:
    return sorted(trades, key=lambda trade: trade["id"])


def shell(jars: Path) -> dict[str, str]:
    return {"JAVA": find_java(), "KAFKA_JARS": str(jars)}


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Pipeline], tuple[list[str], dict[str, str]]]:
    """The command that reads a desk's trades, and its environment, in one of the languages."""

    def python(desk: Pipeline) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, str(EXAMPLES / "read_trades.py"), desk.bootstrap, desk.prefix], {}

    def console(desk: Pipeline) -> tuple[list[str], dict[str, str]]:
        folder = request.getfixturevalue("jars")
        return [str(EXAMPLES / "read_trades.sh"), desk.bootstrap, desk.prefix], shell(folder)

    def java(desk: Pipeline) -> tuple[list[str], dict[str, str]]:
        compiler = shutil.which("javac")
        if compiler is None:
            pytest.skip("no javac on this machine")
        path = f"{request.getfixturevalue('jars')}/*"
        source = EXAMPLES / "ReadTrades.java"
        subprocess.run([compiler, "--release", "17", "-cp", path, "-d", tmp_path, source], check=True)
        return [find_java(), "-cp", f"{path}:{tmp_path}", "ReadTrades", desk.bootstrap, desk.prefix], {}

    return {"python": python, "shell": console, "java": java}[request.param]


@pytest.mark.parametrize("reader", ["python", "shell", "java"], indirect=True)
def test_trades_are_read(traded: Pipeline, reader: Callable[..., tuple[list[str], dict[str, str]]]) -> None:
    wanted = traded.trades()
    assert wanted
    command, environment = reader(traded)
    assert by_id(first_lines(command, len(wanted), environment)) == by_id(wanted)


def without_a_reader(command: list[str], environment: dict[str, str]) -> None:
    """Run a program whose output nobody reads; it must end by itself and well."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        subprocess.run(command, stdout=theirs, check=True, timeout=SECONDS, env={**os.environ, **environment})
    finally:
        os.close(theirs)


@pytest.mark.parametrize("reader", ["python", "java"], indirect=True)
def test_a_reader_ends_when_nobody_reads_what_it_prints(
    traded: Pipeline, reader: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    without_a_reader(*reader(traded))


@pytest.mark.parametrize("reader", ["python"], indirect=True)
def test_a_trade_that_python_could_not_print_comes_again(
    traded: Pipeline, reader: Callable[..., tuple[list[str], dict[str, str]]]
) -> None:
    without_a_reader(*reader(traded))
    assert all(offset < 0 for offset in committed_offsets(traded, "my-trades").values())


@pytest.mark.parametrize(
    ("reader", "group"), [("python", "my-trades"), ("java", "my-java-trades")], indirect=["reader"]
)
def test_a_reader_that_is_interrupted_keeps_what_it_has_printed(
    traded: Pipeline, reader: Callable[..., tuple[list[str], dict[str, str]]], group: str
) -> None:
    trades = traded.messages(TRADES.name)
    command, environment = reader(traded)
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert program.stdout is not None
        for _ in trades:
            program.stdout.readline()
        program.send_signal(signal.SIGINT)
        rest, _ = program.communicate(timeout=SECONDS)
    finally:
        program.kill()
        program.wait()
    assert rest == ""
    committed = committed_offsets(traded, group)
    again = [message for message in trades if message.offset() >= committed[message.partition()]]
    assert len(again) <= 1  # the one that was being printed


def committed_offsets(desk: Pipeline, group: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": desk.bootstrap, "group.id": f"{desk.prefix}{group}"})
    topic = f"{desk.prefix}{TRADES.name}"
    try:
        wanted = [TopicPartition(topic, partition) for partition in range(desk.partitions)]
        return {each.partition: each.offset for each in consumer.committed(wanted, timeout=SECONDS)}
    finally:
        consumer.close()


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*_*.py")) + sorted(EXAMPLES.glob("*[se]_*.sh")), ids=str)
def test_without_arguments_an_example_says_how_it_is_used(program: Path) -> None:
    interpreter = sys.executable if program.suffix == ".py" else "/bin/sh"
    result = subprocess.run([interpreter, program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode != 0 and program.name in result.stderr and "BOOTSTRAP" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("program", ["write_control.py", "write_control.sh", "write_quotes.py"])
def test_what_no_broker_takes_is_said(program: str, jars: Path) -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    interpreter = [sys.executable] if program.endswith(".py") else []
    rest = {"write_control.py": ["AAPL", "20000"], "write_control.sh": ["AAPL", "{}"], "write_quotes.py": []}[program]
    result = subprocess.run(
        [*interpreter, str(EXAMPLES / program), bootstrap, *rest],
        input="AAPL,187.10,300,187.12,200\n",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **shell(jars)},
    )
    assert result.returncode == 1
    said = result.stderr.splitlines()[-1]
    assert said.startswith((f"not written to {bootstrap}", f"{bootstrap} does not answer"))


def test_a_control_is_written_from_python(desk: Pipeline) -> None:
    program = [sys.executable, str(EXAMPLES / "write_control.py"), desk.bootstrap]
    for rest in (["AAPL", "20000", "REDUCING", desk.prefix], ["GOOG", "500", "ACTIVE", desk.prefix]):
        subprocess.run([*program, *rest], check=True, timeout=SECONDS)
    held = read_controls(desk.config)
    assert held["AAPL"].control == Control(max_position_dollars=20_000, state=State.REDUCING)
    assert held["GOOG"].control == Control(max_position_dollars=500)


def test_a_control_is_written_and_removed_from_the_shell(desk: Pipeline, jars: Path) -> None:
    def write(value: str) -> None:
        command = [EXAMPLES / "write_control.sh", desk.bootstrap, "AAPL", value, desk.prefix]
        subprocess.run(command, check=True, timeout=SECONDS, env={**os.environ, **shell(jars)})

    write('{"max_position_dollars": 20000,\n "state": "REDUCING"}')
    held = read_controls(desk.config)
    assert held["AAPL"].control == Control(max_position_dollars=20_000, state=State.REDUCING)
    write("null")
    assert read_controls(desk.config) == {}


def test_quotes_of_ones_own_are_used(desk: Pipeline) -> None:
    lines = "".join(f"{symbol},187.10,300,187.12,200\n" for symbol in market.SYMBOLS)
    program = [sys.executable, EXAMPLES / "write_quotes.py", desk.bootstrap, desk.prefix]
    subprocess.run(program, input=lines, text=True, check=True, timeout=SECONDS)
    for message in desk.messages(QUOTES.name):
        if message.key() is not None:
            assert message.partition() == partition_of(message.key().decode(), desk.partitions)
    desk.start_all()
    desk.wait_until_drained()
    counters = desk.counters("signals")
    assert counters["used"] == len(market.SYMBOLS)
    assert counters["clock"] == 2 * desk.partitions  # the second's, and the end's
    assert counters["dead_lettered"] == counters["late"] == 0


def test_quotes_of_ones_own_end_with_a_clock_when_they_are_interrupted(desk: Pipeline) -> None:
    program = subprocess.Popen(
        [sys.executable, EXAMPLES / "write_quotes.py", desk.bootstrap, desk.prefix], stdin=subprocess.PIPE, text=True
    )
    try:
        assert program.stdin is not None
        program.stdin.write("AAPL,187.10,300,187.12,200\n")
        program.stdin.flush()
        wait_until(lambda: len(desk.messages(QUOTES.name)) == desk.partitions + 1, "a quote and its clocks")
        program.send_signal(signal.SIGINT)
        program.wait(timeout=SECONDS)
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 0
    sent = [json.loads(message.value()) for message in desk.messages(QUOTES.name)]
    assert sum(record.get("end", False) for record in sent) == desk.partitions


def test_quotes_for_a_topic_that_is_missing_are_refused(kafka: Kafka, prefix: str) -> None:
    program = [sys.executable, EXAMPLES / "write_quotes.py", kafka.bootstrap, prefix]
    result = subprocess.run(program, input="", capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"{prefix}{QUOTES.name}: ")


NOTEBOOK = EXAMPLES / "profit_and_loss.ipynb"
RUN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"]), store_history=True).raise_error()
print(shell.user_ns["check"].to_json())
"""


def test_the_notebook_reads_trades_and_pnl(traded: Pipeline, tmp_path: Path) -> None:
    """Each cell in turn in one interpreter of IPython's, as Jupyter runs them."""
    place = {"MM_BOOTSTRAP": traded.bootstrap, "MM_PREFIX": traded.prefix, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-c", RUN_CELLS, NOTEBOOK]
    done = subprocess.run(command, env={**os.environ, **place}, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = json.loads(done.stdout.splitlines()[-1])
    pnl = traded.pnl()
    assert checked["net"] == {symbol: pytest.approx(pnl[symbol]["net"]) for symbol in checked["net"]}
    assert checked["net"].keys() == {trade["symbol"] for trade in traded.trades()}


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
