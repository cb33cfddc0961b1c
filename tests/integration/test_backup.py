"""A backup is a copy of the stopped broker's folder: what goes on from it trades as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson

from agents.strategy.settings import Settings
from deploy.broker import Broker
from schemas.controls import encode_control
from schemas.records import Control
from tests.integration import market
from tests.integration.pipeline import Pipeline, trades_hash
from tests.pipeline import offline

CONTROL = Control(max_position_dollars=50_000)


def test_a_copy_of_the_brokers_folder_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = list(market.quotes(seconds=200))
    wanted = offline.Pipeline(Settings())
    for symbol in market.SYMBOLS:
        wanted.controls.write(symbol, encode_control(CONTROL))
    wanted.process([offline.Raw(orjson.dumps(row)) for row in rows])
    wanted.commit()

    with Broker(tmp_path / "home") as broker:
        desk = Pipeline(broker.bootstrap, "")
        desk.create_topics()
        for symbol in market.SYMBOLS:
            desk.control(symbol, CONTROL)
        desk.quotes(rows[: len(rows) // 2])
        desk.start_all()
        desk.wait_until_drained()
        desk.stop()
    shutil.copytree(tmp_path / "home", tmp_path / "backup")
    shutil.rmtree(tmp_path / "home")
    with Broker(tmp_path / "backup") as broker:
        desk = Pipeline(broker.bootstrap, "")
        desk.quotes(rows[len(rows) // 2 :])
        desk.start_all()
        desk.wait_until_drained()
        assert trades_hash(desk.trades()) == trades_hash(wanted.published("trades"))
        assert desk.table("positions") == wanted.latest("positions")
        assert desk.pnl() == wanted.latest("pnl")
        desk.stop()
