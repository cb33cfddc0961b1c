"""What the page costs: CPU of server and browser, change to screen, memory, at 15 thousand changed rows a second.

    python -m benchmarks.dashboard [--seconds 60] [--pages 1] [--table ticks_bid_ask] [--slots 20]
        [--window 900] [--chromium PATH]

Writes marks of 5,000 symbols each second and 5,000 records of the decision topics straight to a broker of its own,
serves the page, opens it in Chromium with one table and both plots, and prints one JSON line. "change to screen" is
from the writing of a tick to its number in a cell, Kafka and the wait for the next of four frames a second included;
"youngest to screen" is the same for the youngest tick of each frame, which has not waited; "arrival to screen" is from
the frame's arrival in the browser. Memory is looked at ten times. --slots: how often a second something is written;
--window: seconds of the past that the server keeps for the plots (900 in use), after which its memory is to stay flat.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import psutil
from playwright.sync_api import sync_playwright

from agents.dashboard import DashboardSettings, run
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from deploy.broker import Broker
from deploy.ports import free_port
from schemas.controls import encode_control
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.topics import TOPICS

SYMBOLS = 5_000
DECIDED = 1_000
WARM_UP_SECONDS = 15
LOOKS = 10
STAMP = 100_000_000
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
NAMES = [f"S{i:04d}" for i in range(SYMBOLS)]

# bid_size of a tick is the time of its writing: what a cell shows tells how long it took.
WATCH = """column => {
  window.latencies = [];
  window.youngest = [];
  window.paints = [];
  const seen = new Map();
  new MutationObserver(changes => {
    const now = Date.now() % STAMP;
    for (const {target} of changes) {
      const cell = (target.nodeType === 3 ? target.parentElement : target)?.closest?.('.ag-cell');
      if (cell?.getAttribute('col-id') !== column) continue;
      const row = cell.closest('.ag-row').getAttribute('row-id'), value = Number(cell.textContent.replaceAll(',', ''));
      if (!value || seen.get(row) === value) continue;
      if (seen.has(row)) {
        window.latencies.push(now - value);
        const paint = performance.now() - window.received;
        window.paints.push(paint);
        if (window.age != null) window.youngest.push(window.age + paint);
        window.age = null;
      }
      seen.set(row, value);
    }
  }).observe(document.querySelector('[data-table]'), {subtree: true, childList: true, characterData: true});
}""".replace("STAMP", str(STAMP))


NOTE_ARRIVAL = """
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      this.addEventListener('message', event => {
        if (!String(event.data).includes('"ticks_bid_ask"')) return;
        const put = JSON.parse(event.data).ticks_bid_ask.put;
        if (!put?.length) return;
        window.received = performance.now();
        window.age = Date.now() % STAMP - put.reduce((newest, row) => Math.max(newest, row[4]), 0);
      });
    }
  };
""".replace("STAMP", str(STAMP))


def write_load(bootstrap: str, slots: int, ready: Any, written: Any) -> None:
    """Write 15 thousand records a second until the process is ended, and count them."""
    config = KafkaConfig(bootstrap)
    topics.create(clients.admin(config), config, TOPICS.values(), 4, 1)
    producer = clients.producer(config)
    places = [(name, name.encode(), partition_of(name, 4)) for name in NAMES]
    for _, key, _ in places:
        producer.produce("controls", encode_control(Control(max_position_dollars=1_000)), key, 0)
    producer.flush()
    ready.set()
    began, slot = time.time(), 0
    while True:
        time.sleep(max(0.0, began + slot / slots - time.time()))
        part = slot % slots
        for topic, i, row in (
            *_marks(range(part, SYMBOLS, slots)),
            *_decisions(range(slot * DECIDED // slots, (slot + 1) * DECIDED // slots)),
        ):
            name, key, partition = places[i]
            producer.produce(topic, orjson.dumps({"symbol": name, **row}), key, partition)
            written.value += 1
        producer.poll(0)
        slot += 1


def serve(bootstrap: str, port: int, window_seconds: float) -> None:
    """Serve the page as `mm dashboard` does."""
    run(KafkaConfig(bootstrap), DashboardSettings(port=port, window_seconds=window_seconds))


def _marks(symbols: Iterable[int]) -> Iterable[tuple[str, int, dict[str, Any]]]:
    now = time.time()
    ts, stamp = int(now * 1e9), int(now * 1000) % STAMP
    for i in symbols:
        mid, ema = 100 + 5 * math.sin(now / 30 + i), 100 + math.sin(now / 60 + i)
        prices = {"ts": ts, "bid": mid - 0.01, "ask": mid + 0.01}
        yield "ticks_bid_ask", i, {**prices, "bid_size": stamp, "ask_size": 100.0}
        bands = {"sd": 1.0, "buy_below": ema - 1, "sell_above": ema + 1, "warm": True}
        yield "preds", i, {**prices, "mid": mid, "ema": ema, **bands}


def _decisions(numbers: Iterable[int]) -> Iterable[tuple[str, int, dict[str, Any]]]:
    ts = time.time_ns()
    for number in numbers:
        i, position = number % SYMBOLS, 10.0 * (1 + number // SYMBOLS)
        base = {"ts": ts, "time": "2026-01-01T00:00:00Z"}
        fill = {"side": "BUY", "shares": 10.0, "price": 100.0, "fee": 0.0, "control_version": i, "quote_ts": ts}
        ledger = {"shares": position, "average_cost": 100.0, "realised": 0.0, "fees": 0.0}
        after = {"position_before": position - 10, "position_after": position, "mid": 100.0}
        trade_id = f"{NAMES[i]}-{ts}"
        outcome = {"outcome": "FILLED", "reason": None}
        yield "executions", i, {**base, **fill, **after, **outcome, "trade_id": trade_id}
        after_fill = {"position_after": position, "realised": 0.0, "reason": "SIGNAL", "settings": ""}
        yield "trades", i, {**base, **fill, "id": trade_id, **after_fill}
        bands = {"bid": 100.0, "ask": 100.1, "buy_below": 99.0, "sell_above": 101.0, "state": "ACTIVE"}
        verdict = {"verdict": "BUY", "outcome_reason": None, "position": position, "room_dollars": 10.0}
        yield "orders", i, {**base, **outcome, **verdict, **bands}
        counts = {"cash": -100 * position, "trades": 1, "state": "ACTIVE", "control_version": i}
        yield "positions", i, {**base, **ledger, **counts}
        marked = {"unrealised": 0.0, "net": 0.0, "mark": 100.0, "mark_ts": ts, "exposure": 100 * position}
        yield "pnl", i, {**base, **ledger, **marked}


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time that processes have taken, those that have ended left out."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def measure(
    url: str, server: psutil.Process, written: Any, chromium: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Open the pages, wait, count."""
    mine = psutil.Process()
    before = {process.pid for process in mine.children(recursive=True)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=BROWSER_FLAGS)
        pages = [browser.new_page(viewport={"width": 1400, "height": 1100}) for _ in range(options.pages)]
        for page in pages:
            page.add_init_script(NOTE_ARRIVAL)
            page.goto(f"{url}/?tab={options.table}&symbol={NAMES[1]}")
            page.wait_for_selector(".ag-row", timeout=60_000)
        pages[0].wait_for_timeout(1_000 * WARM_UP_SECONDS)
        if options.table == "ticks_bid_ask":
            pages[0].evaluate(WATCH, "4")
        browsers = [process for process in mine.children(recursive=True) if process.pid not in before]
        browsers = [process for process in browsers if "chrom" in process.name()]
        heap = "() => Math.round(performance.memory.usedJSHeapSize / 1e6)"
        memory, heaps = [server.memory_info().rss // 1_000_000], [pages[0].evaluate(heap)]
        cpu, began, rows = (cpu_seconds([server]), cpu_seconds(browsers)), time.monotonic(), written.value
        for _ in range(LOOKS):
            pages[0].wait_for_timeout(1_000 * options.seconds / LOOKS)
            memory.append(server.memory_info().rss // 1_000_000)
            heaps.append(pages[0].evaluate(heap))
        seconds = time.monotonic() - began
        used, rows = (cpu_seconds([server]) - cpu[0], cpu_seconds(browsers) - cpu[1]), written.value - rows
        taken = {
            name: sorted(pages[0].evaluate(f"() => window.{variable} ?? []"))
            for name, variable in (("change", "latencies"), ("youngest", "youngest"), ("arrival", "paints"))
        }
        browser.close()
    figures: dict[str, Any] = {
        "table": options.table,
        "pages": options.pages,
        "seconds": round(seconds),
        "slots": options.slots,
        "rows_per_second": round(rows / seconds),
        "server_cpu_percent": round(100 * used[0] / seconds, 1),
        "browser_cpu_percent": round(100 * used[1] / seconds, 1),
        "server_memory_mb": memory,
        "browser_heap_mb": heaps,
        "load_average": os.getloadavg()[0],
    }
    for name, times in taken.items():
        for share in (50, 90, 99) if times else ():
            figures[f"{name}_to_screen_ms_p{share}"] = round(times[len(times) * share // 100])
    return figures


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pages", type=int, default=1)
    parser.add_argument("--table", default="ticks_bid_ask")
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--window", type=float, default=900.0)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    if not options.chromium:
        sys.exit("no Chromium on the path: give --chromium PATH")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as folder, Broker(Path(folder) / "broker") as broker:
        spawn = multiprocessing.get_context("spawn")
        ready, written = spawn.Event(), spawn.Value("q", 0, lock=False)
        load = spawn.Process(target=write_load, args=(broker.bootstrap, options.slots, ready, written), daemon=True)
        load.start()
        ready.wait(60)
        server = spawn.Process(target=serve, args=(broker.bootstrap, port, options.window))
        server.start()
        try:
            wait_for(f"http://127.0.0.1:{port}")
            url = f"http://127.0.0.1:{port}"
            print(json.dumps(measure(url, psutil.Process(server.pid), written, options.chromium, options)))
        finally:
            server.terminate()
            server.join()
            load.terminate()
            load.join()


def wait_for(url: str) -> None:
    """Return when a page is served there. Raises TimeoutError."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


if __name__ == "__main__":
    main()
