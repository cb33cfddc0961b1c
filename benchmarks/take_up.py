"""How soon a control that is edited on the page is in the topic, and in the hands of the agents.

    python -m benchmarks.take_up [--edits 40] [--chromium PATH]

A whole desk on a broker of its own: made-up quotes of ten symbols, all agents with a decision each second, the page in
Chromium. Lots are edited there, at moments that have nothing to do with the decision times, and this process reads
`controls` and `signals` as they are committed. Prints one JSON line; times are in ms and begin at the key that ends an
edit: until the record can be read ("in the topic"), until the first decision that names its version was due ("decision
time") and until that decision can be read ("decision readable"). A change that is taken up within T holds from a
decision time at most a second and T later.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import orjson
from confluent_kafka import Message, TopicPartition
from playwright.sync_api import Page, sync_playwright

from agents.feeds.generator import symbol_names
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from benchmarks.dashboard import BROWSER_FLAGS, wait_for
from benchmarks.processes import Agent, running
from deploy.broker import Broker
from deploy.ports import free_port
from schemas.controls import encode_control
from schemas.records import Control
from schemas.topics import CONTROLS, SIGNALS, TOPICS

SYMBOLS, PARTITIONS = 10, 4
WARM_UP_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
SHARES = (100, 200)

# The time of the key that ends an edit, taken in the page: playwright's own way to it does not count.
NOTE_KEYS = """() => addEventListener('keydown', event => {
  if (event.key === 'Enter') window.entered = Date.now();
}, true)"""


class Onlooker:
    """What can be read of controls and signals, and when."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._reader = clients.reader(config)
        places = [TopicPartition(config.name(CONTROLS.name), 0, 0)]
        places += [TopicPartition(config.name(SIGNALS.name), p, 0) for p in range(PARTITIONS)]
        self._reader.assign(places)
        self._seen: list[tuple[float, Message]] = []

    def close(self) -> None:
        """Leave the topics."""
        self._reader.close()

    def read_for(self, seconds: float) -> None:
        """Pass over what comes for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._poll()
        self._seen.clear()

    def follow(self, symbol: str) -> dict[str, float]:
        """Times (ms since the epoch) of the symbol's next control and of the first decision that names it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        version, times = None, dict[str, float]()
        while time.monotonic() < deadline:
            self._poll()
            for at, message in self._seen:
                if message.topic() == self._config.name(CONTROLS.name):
                    if message.key() == symbol.encode():
                        version, times["in the topic"] = message.offset(), at
                    continue
                signal = orjson.loads(message.value())
                if version is not None and signal["symbol"] == symbol and signal["control"]["version"] == version:
                    return {**times, "decision time": signal["ts"] / 1e6, "decision readable": at}
            self._seen.clear()
        raise TimeoutError(f"no decision names the control of {symbol}")

    def _poll(self) -> None:
        message = self._reader.poll(0.05)
        while message is not None:
            if message.error() is None:
                self._seen.append((time.time() * 1000, message))
            message = self._reader.poll(0)


def edit(page: Page, symbol: str, shares: int) -> float:
    """Type a lot into the symbol's row; the time of the last key in ms since the epoch."""
    header = page.locator("[data-table='controls'] .ag-header-cell", has_text="lot_shares")
    row = page.locator(f"[data-table='controls'] .ag-row[row-id='{symbol}']")
    cell = row.locator(f".ag-cell[col-id='{header.get_attribute('col-id')}']")
    cell.dblclick()
    field = cell.locator("input")
    field.fill(str(shares))
    field.press("Enter")
    return float(page.evaluate("() => window.entered"))


def measure(config: KafkaConfig, url: str, chromium: str, edits: int) -> list[dict[str, float]]:
    """Edit lots one after the other; what each took, in ms."""
    names, chance = symbol_names(SYMBOLS), random.Random(7)
    onlooker = Onlooker(config)
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.goto(f"{url}/?tab=controls&symbol={names[0]}")
        page.wait_for_selector(f".ag-row[row-id='{names[-1]}']", timeout=60_000)
        page.evaluate(NOTE_KEYS)
        onlooker.read_for(WARM_UP_SECONDS)
        for number in range(edits):
            onlooker.read_for(chance.random())
            symbol = names[number % SYMBOLS]
            began = edit(page, symbol, SHARES[number // SYMBOLS % len(SHARES)] + number)
            taken.append({name: at - began for name, at in onlooker.follow(symbol).items()})
        browser.close()
    onlooker.close()
    return taken


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=40)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    if not options.chromium:
        sys.exit("no Chromium on the path: give --chromium PATH")
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as folder, ExitStack() as stack:
        broker = stack.enter_context(Broker(Path(folder) / "broker"))
        config = KafkaConfig(broker.bootstrap)
        topics.create(clients.admin(config), config, TOPICS.values(), PARTITIONS, 1)
        control = encode_control(Control(max_position_dollars=100_000, lot_shares=50))
        write_confirmed(config, CONTROLS.name, [(name, control) for name in symbol_names(SYMBOLS)])
        agents = [Agent(config, role, ("decision_seconds=1", "warmup_seconds=2")) for role in ROLES]
        for agent, process in [(agent, stack.enter_context(agent.running())) for agent in agents]:
            agent.wait_until_ready(process)
        port = free_port()
        where = {"MM_BOOTSTRAP": broker.bootstrap, "MM_DECISION_SECONDS": "1", "MM_HOME": folder}
        command = [sys.executable, "-P", "-m", "agents.cli"]
        stack.enter_context(running("the feed", [*command, "feed", "synthetic", f"--symbols={SYMBOLS}"], where))
        stack.enter_context(running("the page", [*command, "dashboard", f"--port={port}"], where))
        url = f"http://127.0.0.1:{port}"
        wait_for(url)
        taken = measure(config, url, options.chromium, options.edits)
    figures: dict[str, object] = {"edits": len(taken), "load_average": os.getloadavg()[0]}
    for name in taken[0]:
        times = sorted(one[name] for one in taken)
        figures |= {f"{name}, ms {word}": round(times[at]) for word, at in (("min", 0), ("p50", len(times) // 2))}
        figures[f"{name}, ms max"] = round(times[-1])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
