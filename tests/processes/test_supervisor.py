"""Processes that die come back; none outlives its supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agents.processes.supervisor import GaveUp, Program, Supervisor
from tests.cli.waiting import until

SECONDS = 20.0
PROGRAM = """
import pathlib, signal, sys, threading
from agents.processes import lifeline
lifeline.watch()
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with pathlib.Path(sys.argv[1]).open("a") as starts:
    starts.write("started\\n")
stop.wait()
"""


def program(folder: Path, name: str = "signals-0", code: str = PROGRAM) -> Program:
    return Program(name, [sys.executable, "-c", code, str(folder / name)])


def starts(folder: Path, name: str = "signals-0") -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_killed_process_is_started_again_under_the_same_name(tmp_path: Path) -> None:
    with Supervisor([program(tmp_path)]) as supervisor:
        until(lambda: starts(tmp_path) == 1, SECONDS, "the start")
        for number in (2, 3):
            os.kill(supervisor.pids()["signals-0"], signal.SIGKILL)
            until(lambda wanted=number: starts(tmp_path) == wanted, SECONDS, "the next start")
        supervisor.wait(0)


def test_stop_ends_all_by_sigterm(tmp_path: Path) -> None:
    supervisor = Supervisor([program(tmp_path, "a"), program(tmp_path, "b")])
    supervisor.start()
    until(lambda: starts(tmp_path, "a") and starts(tmp_path, "b"), SECONDS, "the starts")
    pids = supervisor.pids()
    supervisor.stop()
    assert set(pids) == {"a", "b"} and not any(psutil.pid_exists(pid) for pid in pids.values())
    assert supervisor.pids() == {}


def test_what_does_not_heed_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.processes.supervisor.STOP_SECONDS", 0.2)
    deaf = PROGRAM.replace("lambda *_: stop.set()", "signal.SIG_IGN")
    supervisor = Supervisor([program(tmp_path, code=deaf)])
    supervisor.start()
    until(lambda: starts(tmp_path), SECONDS, "the start")
    pid = supervisor.pids()["signals-0"]
    supervisor.stop()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("status", [2, 4, 5, 6, 7, 10])
def test_what_a_restart_cannot_mend_is_given_up_with_its_status(tmp_path: Path, status: int) -> None:
    code = f"import sys; print('mm: this is why', file=sys.stderr); raise SystemExit({status})"
    with Supervisor([program(tmp_path, code=code)], tmp_path) as supervisor:
        with pytest.raises(GaveUp, match="signals-0") as caught:
            supervisor.wait(SECONDS)
        assert caught.value.exit_status == status
        assert str(caught.value).endswith("it said: this is why")


@pytest.mark.parametrize("status", [3, 8, 70, 75])
def test_other_statuses_are_tried_again(tmp_path: Path, status: int) -> None:
    code = PROGRAM.replace("stop.wait()", f"raise SystemExit({status})")
    with Supervisor([program(tmp_path, code=code)]) as supervisor:
        until(lambda: starts(tmp_path) >= 2, SECONDS, "a second start")
        supervisor.wait(0)


def test_a_restart_that_fails_itself_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    with Supervisor([program(tmp_path)], logs) as supervisor:
        until(lambda: starts(tmp_path) == 1, SECONDS, "the start")
        logs.rename(tmp_path / "elsewhere")
        os.kill(supervisor.pids()["signals-0"], signal.SIGKILL)
        until(lambda: "signals-0 cannot be started" in caplog.text, SECONDS, "a restart without a folder for the log")
        logs.mkdir()
        until(lambda: starts(tmp_path) == 2, SECONDS, "the next start")


def test_what_cannot_be_started_at_all_does_not_keep_the_others_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor([Program("gone", [str(tmp_path / "nothing")]), program(tmp_path)])
    supervisor.start()
    until(lambda: starts(tmp_path) and "gone cannot be started" in caplog.text, SECONDS, "both tries")
    assert set(supervisor.pids()) == {"signals-0"}
    supervisor.stop()
    assert supervisor.pids() == {}


def test_one_whose_log_is_gone_is_given_up_all_the_same(tmp_path: Path) -> None:
    code = "import pathlib, sys; pathlib.Path(sys.argv[1] + '.log').unlink(); raise SystemExit(2)"
    with Supervisor([program(tmp_path, code=code)], tmp_path) as supervisor, pytest.raises(GaveUp, match="be read"):
        supervisor.wait(SECONDS)


def test_what_a_process_says_goes_to_its_file(tmp_path: Path) -> None:
    code = PROGRAM.replace("stop = ", "print('to stderr', file=sys.stderr, flush=True)\nstop = ")
    with Supervisor([program(tmp_path, code=code)], tmp_path):
        until(lambda: starts(tmp_path), SECONDS, "the start")
    assert (tmp_path / "signals-0.log").read_text() == "to stderr\n"


def test_processes_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    supervising = f"""
import pathlib, sys, threading
from agents.processes.supervisor import Program, Supervisor
from tests.processes.test_supervisor import program
folder = pathlib.Path({str(tmp_path)!r})
supervisor = Supervisor([program(folder, "a"), program(folder, "b")])
supervisor.start()
print("up", flush=True)
threading.Event().wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", supervising], stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline() == b"up\n"
    until(lambda: starts(tmp_path, "a") and starts(tmp_path, "b"), SECONDS, "the starts")
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.kill()
    parent.communicate()
    psutil.wait_procs(children, SECONDS)
    assert not any(child.is_running() for child in children)
