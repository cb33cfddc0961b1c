"""Alerts on a real broker: once each, known by their ids, from every input; pages and metrics show them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.partitioning import partition_of
from schemas.records import OutcomeReason
from schemas.times import NS
from schemas.topics import EXECUTIONS, ORDERS, PNL, SIGNALS, TRADES
from tests.integration.pipeline import wait_until
from tests.surveillance.worker import (
    DEADLINE_SECONDS,
    SYMBOLS,
    T0,
    Desk,
    Worker,
    execution,
    order,
    pnl,
    refused,
    seen,
    signal_record,
    sums,
    trade,
    trades,
)

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
WINDOWS = ("trades", "turnover", "realised", "decisions")
RULES = """
[trade_count]
above = 3
[drawdown]
above = 100
[grid]
seconds = 2
[silent_symbol]
seconds = 60
[dead_letters]
seconds = 3
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return file


def wait_for_alerts(desk: Desk, *wanted: tuple[str, str]) -> None:
    def come() -> bool:
        return set(wanted) <= set(desk.alerts())

    try:
        wait_until(come, "alerts", DEADLINE_SECONDS)
    except AssertionError:
        assert set(wanted) <= set(desk.alerts())
        raise


def raise_and_clear(desk: Desk) -> list[tuple[str, str]]:
    """Write what each rule of records raises and clears; the alerts that must come of it."""
    desk.write(TRADES.name, [trade("AAPL", n) for n in range(4)])
    desk.write(PNL.name, [pnl("BAC", T0 + n * NS, net) for n, net in enumerate((0, -101, -10))])
    desk.write(ORDERS.name, [order("IBM", T0, 95, 50), order("IBM", T0 + NS, 0, 1000)])
    desk.write(SIGNALS.name, [signal_record("GOOG", T0, mid=11.0), signal_record("GOOG", T0 + NS)])
    stale = execution("MSFT", T0 + 61 * NS, quote_ts=T0, reason=OutcomeReason.STALE)
    desk.write(EXECUTIONS.name, [stale, execution("MSFT", T0 + 600 * NS)])
    window = T0 - 240 * NS
    ids = [
        f"AAPL-trade_count-{window}",
        f"BAC-drawdown-{T0 + NS}",
        f"IBM-position-{T0}",
        f"GOOG-jump-{T0}",
        f"MSFT-silent_symbol-{T0}",
    ]
    # the window of AAPL's trades is cleared by MSFT's event time
    return [(id, state) for id in ids for state in ("RAISED", "CLEARED")]


def test_each_condition_is_told_once_when_it_begins_and_once_when_it_ends(
    desk: Desk, tmp_path: Path, rules: Path
) -> None:
    with Worker(desk, tmp_path, rules=rules) as worker:
        wanted = raise_and_clear(desk)
        wait_for_alerts(desk, *wanted)
        assert worker.stop() == 0
    of_symbols = [alert for alert in desk.alerts() if not alert[0].startswith("partition-")]
    assert sorted(of_symbols) == sorted(wanted)
    for id, _ in wanted:
        assert [state for of, state in desk.alerts() if of == id] == ["RAISED", "CLEARED"]


def test_alerts_carry_the_key_partition_and_headers_of_the_contract(desk: Desk, tmp_path: Path, rules: Path) -> None:
    desk.write(PNL.name, [pnl("BAC", T0, -500)])
    with Worker(desk, tmp_path, rules=rules):
        wait_for_alerts(desk, (f"BAC-drawdown-{T0}", "RAISED"))
    [message] = desk.messages("alerts")
    alert = json.loads(message.value())
    assert (message.key(), message.partition()) == (b"BAC", partition_of("BAC", desk.partitions))
    headers = dict(message.headers())
    assert headers["ce_type"] == b"market-maker.alert"
    assert headers["ce_source"] == b"/market-maker/surveillance/alert"
    assert headers["ce_id"] == f"BAC-drawdown-{T0}-RAISED".encode()
    assert (alert["symbol"], alert["severity"], alert["value"], alert["threshold"]) == ("BAC", "CRITICAL", 500, 100)
    assert alert["time"].startswith("2023-11-14T")


def test_open_alerts_survive_kill_9_and_are_not_raised_again(desk: Desk, tmp_path: Path, rules: Path) -> None:
    desk.write(PNL.name, [pnl("BAC", T0, -500)])
    raised = (f"BAC-drawdown-{T0}", "RAISED")
    with Worker(desk, tmp_path, rules=rules) as worker:
        wait_until(lambda: worker.page("/alerts").get("open"), "the alert to be open")
        # the row is on the broker once the group has committed
        wait_until(lambda: desk.committed(PNL.name) == desk.ends(PNL.name), "a commit")
        worker.kill()
    with Worker(desk, tmp_path, rules=rules) as worker:
        [still] = worker.page("/alerts")["open"]
        assert still["id"] == raised[0]
        desk.write(PNL.name, [pnl("BAC", T0 + NS, -600), pnl("BAC", T0 + 2 * NS, 0)])
        wait_for_alerts(desk, (raised[0], "CLEARED"))
        wait_until(lambda: worker.page("/alerts").get("open") == [], "the alert to be closed")
    assert [state for id, state in desk.alerts() if id == raised[0]] == ["RAISED", "CLEARED"]


def test_a_silent_symbol_and_a_stopped_grid_are_noticed_without_any_record(
    desk: Desk, tmp_path: Path, rules: Path
) -> None:
    with Worker(desk, tmp_path, rules=rules, options=("--set=decision_seconds=1",)) as worker:
        assert worker.page("/health")["settings"]["grid"]["seconds"] == 3
        desk.write(SIGNALS.name, [signal_record(symbol, T0) for symbol in SYMBOLS])
        desk.write(EXECUTIONS.name, [execution(symbol, T0) for symbol in SYMBOLS])
        stopped = [(f"partition-{p}-grid-{T0}", "RAISED") for p in range(desk.partitions)]
        wait_for_alerts(desk, *stopped)

        def silent() -> bool:
            # others go on; the wall time between them matters as well
            nonlocal number
            number += 1
            desk.write(EXECUTIONS.name, [execution(symbol, T0 + number * 100 * NS) for symbol in SYMBOLS[1:]])
            return (f"AAPL-silent_symbol-{T0 - 1}", "RAISED") in desk.alerts()

        number = 0
        wait_until(silent, "silence to be noticed", DEADLINE_SECONDS)
        wait_for_alerts(desk, *((id, "CLEARED") for id, _ in stopped))
        desk.write(EXECUTIONS.name, [execution("AAPL", T0 + number * 100 * NS)])
        wait_for_alerts(desk, (f"AAPL-silent_symbol-{T0 - 1}", "CLEARED"))
        assert worker.process.poll() is None


def test_garbage_is_set_aside_and_told_and_stops_nothing(desk: Desk, tmp_path: Path, rules: Path) -> None:
    written = list(trades(100))
    with Worker(desk, tmp_path, rules=rules) as worker:
        for topic in ("trades", "executions", "pnl", "signals", "orders"):
            for partition in range(desk.partitions):
                desk.write_raw(topic, partition, b"AAPL", b"garbage")
                desk.write_raw(topic, partition, b"", b'{"symbol": "AAPL"}')
                desk.write_raw(topic, partition, b"AAPL", None)
                desk.write_raw(topic, partition, b"\xff\x00", b"\xff" * 600_000)
        desk.write_raw("dead-letters", 0, b"\xff", None)
        desk.write(TRADES.name, written)
        wait_until(lambda: seen(worker) == sums(written), "the sums", DEADLINE_SECONDS)
        count = 5 * 3 * desk.partitions
        wait_until(lambda: len(desk.messages("dead-letters")) == count + 1, "the dead letters", DEADLINE_SECONDS)
        raised = [alert for alert in desk.records("alerts") if alert["rule"] == "dead_letters"]
        wait_until(lambda: any("dead_letters" in id for id, _ in desk.alerts()), "the alert", DEADLINE_SECONDS)
        raised = [alert for alert in desk.records("alerts") if alert["rule"] == "dead_letters"]
        assert all(alert["symbol"] is None for alert in raised)
        wait_for_alerts(desk, *((alert["id"], "CLEARED") for alert in raised))
        assert worker.counts("trades")["dead_lettered"] == 3 * desk.partitions
        assert worker.counts("trades")["tombstone"] == desk.partitions
        assert worker.stop() == 0
    headers = [dict(message.headers() or ()) for message in desk.messages("dead-letters")]
    assert {found.get("mm_agent") for found in headers} == {b"surveillance", None}
    assert {found.get("mm_topic") for found in headers} >= {f"{desk.prefix}trades".encode()}


def test_surveillance_that_is_behind_says_that_it_judges_no_silence(desk: Desk, tmp_path: Path, rules: Path) -> None:
    never_caught_up = "import agents.surveillance.watch as watch; watch._NEARLY = 0"
    with Worker(desk, tmp_path, rules=rules, changed=never_caught_up) as worker:
        desk.write(SIGNALS.name, [signal_record("AAPL", T0)])
        wait_until(lambda: worker.counts("signals").get("used") == 1, "the signal")
        _, metrics = worker.get("/metrics")
    assert "mm_surveillance_ready 1.0" in metrics
    assert "mm_surveillance_judged_timestamp_seconds 0.0" in metrics


def test_pages_show_windows_alerts_health_and_metrics(desk: Desk, tmp_path: Path, rules: Path) -> None:
    written = [trade("AAPL", n, 20) for n in range(30)]
    desk.write(TRADES.name, written)
    desk.write(EXECUTIONS.name, [refused("AAPL", T0 + n * NS, OutcomeReason.LIMIT) for n in range(3)])
    desk.write(PNL.name, [pnl("AAPL", T0, 1.5), pnl("AAPL", T0 + NS, -3.5), pnl("GOOG", T0, 1.0)])
    with Worker(desk, tmp_path, rules=rules) as worker:
        wait_until(lambda: seen(worker) == sums(written), "the sums")
        wait_until(lambda: worker.counts("executions").get("used") == 3, "the executions")
        wait_until(lambda: worker.counts("pnl").get("used") == 3, "the profits and losses")
        page: dict[str, Any] = worker.page("/windows?symbol=AAPL")
        assert [window["trades"] for window in page["minutes"]] == [3] * 10
        assert [window["trades"] for window in page["five_minutes"]] == [15] * 6
        assert page["minutes"][0]["refused"] == {"LIMIT": 3}
        assert page["five_minutes"][0]["start"] == T0
        assert page["five_minutes"][0]["seconds"] == 300
        overview = worker.page("/windows")
        assert overview["symbols"]["AAPL"]["five_minutes"] == page["five_minutes"][-1]
        assert overview["total"]["ever"]["trades"] == 30
        assert worker.page("/windows?symbol=NONE")["minutes"] == []
        assert [alert["rule"] for alert in worker.page("/alerts")["open"]] == ["trade_count"]
        health = worker.page("/health")
        assert health["ready"] and health["partitions"] == [0, 1]
        assert health["settings"]["trade_count"]["above"] == 3
        wait_until(lambda: set(worker.page("/health")["lag"].values()) == {0}, "no lag")
        _, metrics = worker.get("/metrics")
        assert "mm_surveillance_ready 1.0" in metrics
        assert 'mm_surveillance_open_alerts{rule="trade_count",severity="WARNING"} 1.0' in metrics
        assert 'mm_surveillance_records_total{result="used",topic="trades"} 30.0' in metrics
        assert "mm_surveillance_window_trades 15.0" in metrics
        assert "mm_surveillance_net -2.5" in metrics
        judged = re.search(r"^mm_surveillance_judged_timestamp_seconds (\S+)$", metrics, re.MULTILINE)
        assert judged is not None and abs(time.time() - float(judged[1])) < 3600
        listed = re.findall("^[|] `(mm_surveillance_[a-z_…]+)` [|]", OPERATIONS.read_text(), re.MULTILINE)
        told = {name.replace("…", part).removesuffix("_total") for name in listed for part in WINDOWS}
        names = re.findall("^# TYPE (mm_[a-z_]+)", metrics, re.MULTILINE)
        assert {name.removesuffix("_total") for name in names} == told
        assert worker.get("/nothing")[0] == 404
