"""kill -9 in the middle of a replay, a restart, and the same trades, once: with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from agents.strategy.settings import Settings
from schemas.controls import encode_control
from schemas.records import Control
from schemas.topics import QUOTES
from tests.integration import market
from tests.integration.pipeline import Pipeline, json_records, trades_hash, wait_until
from tests.pipeline import offline

ROLES = ("signals", "execution", "portfolio")
CONTROL = Control(max_position_dollars=50_000)


class Processes:
    """Agents as processes of the command line."""

    def __init__(self, desk: Pipeline, home: Path) -> None:
        self._desk = desk
        self._home = home
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> None:
        environment = os.environ | {
            "MM_BOOTSTRAP": self._desk.bootstrap,
            "MM_PREFIX": self._desk.prefix,
            "MM_HOME": str(self._home),
        }
        command = [sys.executable, "-m", "agents.cli", role, "--instance", "only"]
        log = (self._home / f"{role}.log").open("ab")
        self.running[role] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        log.close()

    def kill(self, role: str) -> None:
        """kill -9, and wait until it is gone."""
        self.running[role].kill()
        self.running.pop(role).wait()

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for role, process in self.running.items():
            assert process.wait(10) == 0, (self._home / f"{role}.log").read_text()
        self.running.clear()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[[Pipeline], Processes]]:
    made: list[Processes] = []

    def make(desk: Pipeline) -> Processes:
        made.append(Processes(desk, tmp_path))
        return made[-1]

    yield make
    for each in made:
        for role in list(each.running):
            each.kill(role)


@pytest.mark.parametrize("victim", ROLES)
def test_killed_agent_restarts_and_the_trades_are_the_same(
    victim: str, pipeline: Callable[..., Pipeline], processes: Callable[[Pipeline], Processes]
) -> None:
    quotes = list(market.quotes(seconds=400))
    wanted = offline.Pipeline(Settings())
    for symbol in market.SYMBOLS:
        wanted.controls.write(symbol, encode_control(CONTROL))
    wanted.process([offline.Raw(orjson.dumps(row)) for row in quotes])
    wanted.commit()

    desk = pipeline()
    for symbol in market.SYMBOLS:
        desk.control(symbol, CONTROL)
    records = list(json_records(quotes, desk.partitions))
    agents = processes(desk)
    for role in ROLES:
        agents.start(role)
    third = len(records) // 3
    for part in (records[:third], records[third : 2 * third]):
        before = progress(desk, victim)
        desk.publish(QUOTES.name, part)
        wait_until(lambda before=before: progress(desk, victim) > before, f"{victim} to work")
        agents.kill(victim)
        agents.start(victim)
    desk.publish(QUOTES.name, records[2 * third :])
    desk.wait_until_drained()
    agents.stop()

    trades = desk.trades()
    assert len({trade["id"] for trade in trades}) == len(trades) > 0
    assert trades_hash(trades) == trades_hash(wanted.published("trades"))
    positions, pnl = desk.table("positions"), desk.table("pnl")
    for symbol in market.SYMBOLS:
        own = [trade for trade in trades if trade["symbol"] == symbol]
        signed = [(trade["shares"] if trade["side"] == "BUY" else -trade["shares"], trade["price"]) for trade in own]
        assert positions[symbol]["shares"] == sum(shares for shares, _ in signed)
        row = pnl[symbol]
        oracle = sum(shares * (row["mark"] - price) for shares, price in signed)
        assert row["realised"] + row["unrealised"] == pytest.approx(oracle, abs=1e-6)


def progress(desk: Pipeline, role: str) -> int:
    return sum(checkpoint["offset"] for checkpoint in desk.checkpoints(role))
