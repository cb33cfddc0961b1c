"""Writes down what a version keeps on the broker: python -m tests.upgrade.record, once for each release.

The desk is stopped in the middle of a day, so that each role has state, and input that nobody has taken yet. Beside it
stand the quotes of the rest of the day and all that came of the whole of it, as that version traded it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from agents import __version__
from schemas.topics import CHECKPOINTS, CONTROLS, EXECUTIONS, MOMENTS, ORDERS, PNL, POSITIONS, QUOTES, SIGNALS
from tests.integration.pipeline import Pipeline, wait_until
from tests.kafka import running_kafka
from tests.upgrade import market

STATES = Path(__file__).parent / "states"
INPUTS = {"signals": QUOTES, "execution": SIGNALS, "portfolio": EXECUTIONS}
KEPT = (MOMENTS, POSITIONS, PNL, ORDERS, CHECKPOINTS)
PARTITIONS = 2


def main() -> None:
    with running_kafka() as kafka:
        desk = Pipeline(kafka.bootstrap, "recorded-", PARTITIONS)
        desk.create_topics()
        for key, control in market.CONTROLS:
            desk.control(key, control)
        first, second, third, fourth, rest = market.parts(market.quotes(), 5)
        work(desk, first, INPUTS)
        work(desk, second, ["signals", "execution"])  # leaves executions
        work(desk, third, ["signals"])  # leaves signals
        desk.quotes(fourth)
        state = state_of(desk)
        state["trades_before"] = len(desk.trades())
    whole = market.undisturbed(market.quotes())
    state["used"] = whole.counters()["used"]
    state["rest"] = rest
    state["trades"] = whole.published("trades")
    state["positions"], state["pnl"] = whole.latest("positions"), whole.latest("pnl")
    path = STATES / f"{__version__}.json"
    path.write_text(lines(state))
    print(path)


def lines(state: Mapping[str, Any]) -> str:
    """JSON with a line for each record."""
    parts = []
    for name, content in state.items():
        text = json.dumps(content)
        if isinstance(content, list):
            text = "[\n" + ",\n".join(map(json.dumps, content)) + "\n]"
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def work(desk: Pipeline, rows: Iterable[Mapping[str, Any]], roles: Collection[str]) -> None:
    """The roles take all there is, the others nothing."""
    desk.quotes(rows)
    for role in roles:
        desk.start(role)
    desk.wait_until_taken()
    for role in roles:
        if role != "signals":
            wait_until(lambda role=role: taken(desk, role), f"{role} to take its input")
    desk.stop()


def taken(desk: Pipeline, role: str) -> bool:
    """Whether a role has taken all of its input, which is written in transactions."""
    return sum(desk.counters(role).values()) == len(desk.messages(INPUTS[role].name))


def state_of(desk: Pipeline) -> dict[str, Any]:
    """What is kept, as topic, partition, key and value of the newest of each key, and the input that is not taken."""
    at = {
        role: {checkpoint["partition"]: checkpoint["offset"] for checkpoint in desk.checkpoints(role)}
        for role in INPUTS
    }
    kept: list[Any] = []
    for topic in KEPT:
        newest = {(m.partition(), m.key()): m.value() for m in desk.messages(topic.name)}
        kept += [[topic.name, p, key.decode(), text(value)] for (p, key), value in sorted(newest.items())]
    waiting: list[Any] = []
    for role, topic in INPUTS.items():
        left = [m for m in desk.messages(topic.name) if m.offset() >= at[role][m.partition()]]
        waiting += [[topic.name, m.partition(), m.key().decode() if m.key() else None, text(m.value())] for m in left]
        assert left, f"{role} has taken all"
    controls = [[m.key().decode(), text(m.value())] for m in desk.messages(CONTROLS.name)]
    return {"partitions": PARTITIONS, "offsets": at, "controls": controls, "kept": kept, "waiting": waiting}


def text(value: bytes) -> str:
    """JSON as it is, all else as base64."""
    return value.decode() if value[:1] == b"{" else base64.b64encode(value).decode()


def raw(value: str) -> bytes:
    """What `text` was given."""
    return value.encode() if value[:1] == "{" else base64.b64decode(value)


if __name__ == "__main__":
    main()
