"""Compiles the kernels ahead of their use; numba keeps the result, beside their sources where it may write there.

Without it the first batch of every agent would take as long as the compiler does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from schemas.frames import encode_frame
from schemas.records import Control
from schemas.times import NS
from schemas.topics import EXECUTIONS, SIGNALS, Topic

_ROOT = Path(__file__).parents[2]
_SOURCES = ("agents/strategy/*.py", "agents/feeds/*.py", "schemas/*.py", "agents/stream/librdkafka.py")
_BEGIN = 1_700_000_000 * NS
_SECONDS = 180
_SYMBOL = "WARM"


def are_compiled() -> bool:
    """Whether `compile_all` ran for this kind of processor since the sources, Python or numba have changed.

    Raises RuntimeError where numba finds no folder to keep compiled code in, as the import of any kernel does.
    """
    try:
        return _stamp().read_text() == _state()
    except OSError:
        return False


def compile_all() -> None:
    """Run three minutes of quotes through the agents' tasks, in memory; seconds when nothing was compiled yet."""
    from agents.execution import ExecutionAgent
    from agents.feeds.generator import WalkSettings, walk
    from agents.portfolio import PortfolioAgent
    from agents.signals import SignalsAgent
    from agents.strategy.settings import Settings
    from agents.stream import librdkafka

    next(walk(WalkSettings(), _BEGIN))
    settings = Settings(warmup_seconds=20)
    signals = SignalsAgent(settings)
    signals.start(_Context())
    desk = _Outputs()
    signals.task(0, 1).process(_batch("quotes", _quotes()), desk)
    fills = _Outputs()
    ExecutionAgent(settings).task(0, 1).process(_batch(SIGNALS.name, desk.of(SIGNALS)), fills)
    PortfolioAgent().task(0, 1).process(_batch(EXECUTIONS.name, fills.of(EXECUTIONS)), _Outputs())
    nothing = [np.zeros(0, np.int64)] * 4
    messages, small = np.zeros(0, np.int64), np.zeros(0, np.int32)
    librdkafka.describe(messages, 0, np.zeros(1, np.int64), small, small, *nothing)
    librdkafka.destroy(messages, 0)
    # Where nothing may be written, as in a container, the next start looks again; that is all.
    with contextlib.suppress(OSError):
        _stamp().write_text(_state())


def _stamp() -> Path:
    """Where compiled code of the strategy is kept for this user: what says that it is there must go with it."""
    from agents.strategy.ledger import shares_of

    return Path(shares_of.stats.cache_path) / "kernels.stamp"


def _state() -> str:
    """What the compiled code depends on; numba keeps it for a kind of processor with its features."""
    from numba.core.registry import cpu_target

    processor = cpu_target.target_context.codegen().magic_tuple()
    seen = hashlib.sha256(f"{sys.version} {version('numba')} {processor}".encode())
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            status = path.stat()
            seen.update(f"{path} {status.st_mtime_ns} {status.st_size}".encode())
    return seen.hexdigest()


def _quotes() -> Iterable[bytes]:
    frame = encode_frame([_SYMBOL], np.zeros(1, np.int32), np.full(1, _BEGIN), [np.full(1, 100.0)] * 4)
    yield frame  # read by pyarrow, as every first frame
    yield frame  # read by the kernel
    for second in range(_SECONDS):
        bid = 100.0 + second % 37 - 3 * (second % 11)
        ts = _BEGIN + second * NS
        quote = {"symbol": _SYMBOL, "ts": ts, "bid": bid, "bid_size": 5.0, "ask": bid + 0.1, "ask_size": 5.0}
        yield json.dumps(quote).encode()
        yield json.dumps({"clock": ts, "feed": "warm", "end": second == _SECONDS - 1}).encode()


def _batch(topic: str, values: Iterable[bytes]) -> Any:
    from agents.stream.batch import MessageBatch

    return MessageBatch([_Message(topic, number, value) for number, value in enumerate(values)])


class _Message:
    """What a batch reads of a message."""

    def __init__(self, topic: str, offset: int, value: bytes, key: bytes | None = None) -> None:
        self.topic: Callable[[], str] = lambda: topic
        self.partition: Callable[[], int] = lambda: 0
        self.offset: Callable[[], int] = lambda: offset
        self.key: Callable[[], bytes | None] = lambda: key
        self.value: Callable[[], bytes] = lambda: value
        self.timestamp: Callable[[], tuple[int, int]] = lambda: (1, (_BEGIN + 3600 * NS) // 1_000_000)


class _Context:
    """Lends a topic of controls with one record."""

    position = 1

    def follow(self, topic: Topic) -> _Context:
        return self

    def beat(self) -> None:
        pass

    def poll(self) -> list[_Message]:
        return []

    def catch_up(self, beat: Callable[[], None]) -> list[_Message]:
        import msgspec

        return [_Message("controls", 0, msgspec.json.encode(Control(max_position_dollars=1e4)), _SYMBOL.encode())]


class _Outputs:
    """Keeps what a task publishes."""

    def __init__(self) -> None:
        self._sent: dict[str, list[bytes]] = {}

    def send(self, topic: Topic, key: str, value: bytes, headers: Any = None) -> None:
        self._sent.setdefault(topic.name, []).append(value)

    def send_many(self, topic: Topic, records: Sequence[tuple[bytes, bytes]], headers: Any = None) -> None:
        self._sent.setdefault(topic.name, []).extend(value for _, value in records)

    def dead_letter(self, batch: Any, record: int, reason: str, rows: int = 1) -> None:
        raise AssertionError(reason)

    def of(self, topic: Topic) -> list[bytes]:
        return self._sent[topic.name]


if __name__ == "__main__":
    compile_all()
