"""A surveillance process, the topics it reads, and what its sums must be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec

from agents.stream import clients, groups, topics
from agents.stream.config import KafkaConfig
from agents.stream.watch import read_whole
from schemas.partitioning import partition_of
from schemas.records import Execution, Order, Outcome, OutcomeReason, Pnl, Side, Signal, Trade, TradeReason, Verdict
from schemas.times import NS, rfc3339
from schemas.topics import TOPICS
from tests.integration.pipeline import wait_until

ROOT = Path(__file__).parents[2]
T0 = 1_700_000_000 * NS // (300 * NS) * (300 * NS)  # a whole number of five minutes
PARTITIONS = 2
SYMBOLS = ("AAPL", "BAC", "GOOG", "IBM", "MSFT")
DEADLINE_SECONDS = 60.0
_COMMAND_LINE = "import runpy; runpy.run_module('agents.cli', run_name='__main__', alter_sys=True)"


@dataclass
class Desk:
    """The topics of one prefix."""

    bootstrap: str
    prefix: str
    partitions: int = PARTITIONS
    config: KafkaConfig = field(init=False)

    def __post_init__(self) -> None:
        self.config = KafkaConfig(self.bootstrap, self.prefix)
        self.admin = clients.admin(self.config)

    def create_topics(self) -> None:
        topics.create(self.admin, self.config, TOPICS.values(), self.partitions, 1)

    def write(self, topic: str, records: Iterable[Any]) -> None:
        """Publish records as the agents do, each to its symbol's partition."""
        producer = clients.producer(self.config)
        for record in records:
            self.produce(producer, topic, record)
        assert producer.flush(DEADLINE_SECONDS) == 0

    def write_raw(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        producer, errors = clients.producer(self.config), []
        producer.produce(self.config.name(topic), value, key, partition, on_delivery=lambda e, _: errors.append(e))
        assert producer.flush(DEADLINE_SECONDS) == 0
        assert not any(errors), errors

    def write_transactions(self, topic: str, batches: Iterable[tuple[list[Any], bool]]) -> None:
        """Publish batches of records, each in a transaction that is committed (True) or aborted."""
        producer = clients.transactional_producer(self.config, f"test-{topic}")
        producer.init_transactions(DEADLINE_SECONDS)
        for records, commit in batches:
            producer.begin_transaction()
            for record in records:
                self.produce(producer, topic, record)
            producer.flush(DEADLINE_SECONDS)
            if commit:
                producer.commit_transaction(DEADLINE_SECONDS)
            else:
                producer.abort_transaction(DEADLINE_SECONDS)

    def produce(self, producer: confluent_kafka.Producer, topic: str, record: Any) -> None:
        symbol = record.symbol
        value = msgspec.json.encode(record)
        producer.produce(self.config.name(topic), value, symbol.encode(), partition_of(symbol, self.partitions))
        producer.poll(0)

    def messages(self, topic: str) -> list[Any]:
        """Every committed message of a topic."""
        return list(read_whole(self.config, topic))

    def records(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(message.value()) for message in self.messages(topic)]

    def alerts(self) -> list[tuple[str, str]]:
        """Id and state of every alert, in the order of their publication within a partition."""
        return [(alert["id"], alert["state"]) for alert in self.records("alerts")]

    def committed(self, topic: str) -> dict[int, int]:
        """The group's committed offset of each partition, 0 where there is none."""
        found = groups.group_offsets(self.config, "surveillance", topic)
        return {partition: found.get(partition, 0) for partition in range(self.partitions)}

    def ends(self, topic: str) -> dict[int, int]:
        return dict(topics.ends(self.admin, self.config.name(topic), range(self.partitions)))


class Worker:
    """One `mm surveillance`; `with` ends it."""

    def __init__(
        self,
        desk: Desk,
        home: Path,
        instance: str = "0",
        rules: Path | None = None,
        wait_ready: bool = True,
        options: tuple[str, ...] = (),
        changed: str = "",
    ) -> None:
        """changed: Python that is run in the process before the command, to bring about what a test needs."""
        self.home = home
        self._log = home / f"surveillance-{instance}.log"
        command = [
            *(sys.executable, "-P", "-c", f"{changed}\n{_COMMAND_LINE}", "surveillance"),
            *("--bootstrap", desk.bootstrap, "--prefix", desk.prefix, "--instance", instance),
            *(("--rules", str(rules)) if rules else ()),
            *options,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MM_", "KAFKA_"))}
        environment |= {"MM_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self._began = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=home, env=environment, stderr=log, stdout=log)
        self._url: str | None = None
        if wait_ready:
            try:
                wait_until(self.ready, "surveillance to be ready", DEADLINE_SECONDS)
            except AssertionError as error:
                self.kill()
                raise AssertionError(self.log()) from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:  # pytest shows it with the failure
            print(self.log(), json.dumps(self.page("/health")), json.dumps(self.ever()), sep="\n")
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._began)
            return log.read().decode()

    def url(self) -> str | None:
        """Where its pages are, once it has said so."""
        if self._url is None and "pages at " in (text := self.log()):
            self._url = text.split("pages at ")[1].split()[0]
        return self._url

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 while nobody answers."""
        url = self.url()
        if url is None:
            return 0, ""
        try:
            with urllib.request.urlopen(url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def page(self, path: str) -> Any:
        """A JSON page; {} while it is not served."""
        status, text = self.get(path)
        return json.loads(text) if status == 200 else {}

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.get("/ready")[0] == 200

    def counts(self, topic: str) -> dict[str, int]:
        """Records of a topic by what became of them, in this process."""
        return self.page("/health").get("records", {}).get(topic, {})

    def ever(self) -> dict[str, dict[str, Any]]:
        """Sums of each symbol since the beginning."""
        symbols = self.page("/windows").get("symbols", {})
        return {symbol: windows["ever"] for symbol, windows in symbols.items()}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a machine that stops."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.terminate()
        return self.process.wait(30)


def trade(symbol: str, number: int, step_seconds: float = 1.0) -> Trade:
    """A trade with sums that tell a lost or doubled one, whichever it is."""
    ts = T0 + int(number * step_seconds * NS)
    return Trade(
        id=f"{symbol}-{ts}",
        symbol=symbol,
        ts=ts,
        time=rfc3339(ts),
        quote_ts=ts,
        side=Side.BUY,
        shares=1.0,
        price=1.0 + number / 1024,
        fee=0.0,
        position_after=1.0,
        realised=float(1 << (number % 30)),
        reason=TradeReason.SIGNAL,
        control_version=0,
        settings="",
    )


def execution(symbol: str, ts: int, **changes: Any) -> Execution:
    record = Execution(
        symbol=symbol,
        ts=ts,
        time=rfc3339(ts),
        quote_ts=ts - 1,
        outcome=Outcome.NONE,
        reason=None,
        side=None,
        shares=0.0,
        price=None,
        fee=0.0,
        position_before=0.0,
        position_after=0.0,
        mid=10.0,
        control_version=0,
        trade_id=None,
    )
    return msgspec.structs.replace(record, **changes)


def refused(symbol: str, ts: int, reason: OutcomeReason) -> Execution:
    return execution(symbol, ts, outcome=Outcome.REFUSED, reason=reason)


def pnl(symbol: str, ts: int, net: float) -> Pnl:
    return Pnl(
        symbol=symbol,
        ts=ts,
        time=rfc3339(ts),
        shares=0.0,
        average_cost=0.0,
        realised=net,
        unrealised=0.0,
        fees=0.0,
        net=net,
        mark=10.0,
        mark_ts=ts,
        exposure=0.0,
    )


def signal_record(symbol: str, ts: int, **changes: Any) -> Signal:
    record = Signal(
        symbol=symbol,
        ts=ts,
        time=rfc3339(ts),
        quote_ts=ts - 1,
        bid=9.99,
        bid_size=100.0,
        ask=10.01,
        ask_size=100.0,
        mid=10.0,
        ema=10.0,
        sd=0.01,
        buy_below=9.9,
        sell_above=10.1,
        buy=False,
        sell=False,
        verdict=Verdict.HOLD,
        reason=None,
        session=None,
        control=None,
        settings="",
    )
    return msgspec.structs.replace(record, **changes)


def order(symbol: str, ts: int, position: float, room: float | None) -> Order:
    return Order(
        symbol=symbol,
        ts=ts,
        time=rfc3339(ts),
        verdict=Verdict.HOLD,
        reason=None,
        outcome=Outcome.NONE,
        outcome_reason=None,
        position=position,
        room_dollars=room,
        state=None,
        bid=9.99,
        ask=10.01,
        buy_below=None,
        sell_above=None,
    )


def trades(count: int, first: int = 0) -> Iterator[Trade]:
    """Trades of all symbols in turn."""
    for number in range(first, first + count):
        yield trade(SYMBOLS[number % len(SYMBOLS)], number)


def sums(records: Iterable[Trade]) -> dict[str, dict[str, float]]:
    """What the sums of these trades are, added in their order."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        at = found.setdefault(record.symbol, {"trades": 0, "turnover": 0.0, "realised": 0.0})
        at["trades"] += 1
        at["turnover"] += record.shares * record.price
        at["realised"] += record.realised
    return found


def seen(worker: Worker) -> dict[str, dict[str, float]]:
    """The same sums as a worker has them."""
    return {
        symbol: {name: ever[name] for name in ("trades", "turnover", "realised")}
        for symbol, ever in worker.ever().items()
    }


def together(*workers: Worker) -> dict[str, dict[str, float]] | None:
    """The sums that several workers have, each for its symbols; None while a symbol is held by two.

    That can be for a moment: a worker that was frozen does not know at once that its partitions were given away.
    """
    held = [seen(worker) for worker in workers]
    found = {symbol: sums for each in held for symbol, sums in each.items()}
    return found if len(found) == sum(map(len, held)) else None
