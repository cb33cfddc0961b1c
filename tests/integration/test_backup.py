"""A backup is a copy of the stopped broker's folder: what goes on from it trades as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import orjson

from agents.strategy.settings import Settings
from deploy import broker as embedded
from deploy.broker import Broker
from schemas.controls import encode_control
from schemas.records import Control
from tests.integration import market
from tests.integration.pipeline import Pipeline, trades_hash
from tests.pipeline import offline

CONTROL = Control(max_position_dollars=50_000)
ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


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


def shell_block(text: str) -> str:
    """The first shell block of a page or of a part of it."""
    found = re.search(r"^( *)```sh\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    assert found
    return textwrap.dedent(found[2])


def test_the_page_of_operations_does_as_it_says(tmp_path: Path) -> None:
    """Word for word, the restore from its sentence."""
    script = f"""
./mm broker up
{shell_block(OPERATIONS)}
before=$B
./mm topics create --prefix kept-
{shell_block(OPERATIONS.partition("## Backup")[2])}
{shell_block(OPERATIONS)}
[ "$B" = "$before" ]
tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server $B list
./mm topics create --prefix lost-
./mm broker down
mv "$MM_HOME/broker" "$MM_HOME/damaged"
mv "$MM_HOME/broker-backup" "$MM_HOME/broker"
./mm broker up
./mm topics check --prefix kept-
! ./mm topics check --prefix lost-
"""
    try:
        environment = os.environ | {"MM_HOME": str(tmp_path)}
        done = subprocess.run(["bash", "-euxc", script], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "missing topics: lost-quotes" in done.stderr
    finally:
        for name in ("broker", "broker-backup"):
            embedded.down(tmp_path / name)
