"""What the desks of this folder trade: controls that hold, wait and bound all, and what comes of them undisturbed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson

from agents.strategy.settings import Settings
from schemas.controls import encode_control
from schemas.records import Control, StarControl, State
from schemas.times import NS
from tests.integration import market
from tests.pipeline import offline

SECONDS = 300
CONTROLS: list[tuple[str, Control | StarControl]] = [
    *((symbol, Control(max_position_dollars=50_000, max_loss_dollars=40)) for symbol in market.SYMBOLS),
    ("IBM", Control(max_position_dollars=20_000, lot_shares=50, effective_from=market.START + 250 * NS)),
    ("*", StarControl(state=State.ACTIVE, effective_from=market.START + 240 * NS)),
    ("*", StarControl(state=State.REDUCING, effective_from=market.START + 280 * NS)),
]


def quotes() -> list[dict[str, Any]]:
    return list(market.quotes(seconds=SECONDS, per_second=1))


def undisturbed(rows: Sequence[dict[str, Any]]) -> offline.Pipeline:
    desk = offline.Pipeline(Settings())
    for key, control in CONTROLS:
        desk.controls.write(key, encode_control(control))
    desk.process([offline.Raw(orjson.dumps(row)) for row in rows])
    desk.commit()
    return desk


def parts(rows: list[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    """The rows in order, in so many pieces of about the same length."""
    bounds = [len(rows) * number // count for number in range(count + 1)]
    return [rows[a:b] for a, b in pairwise(bounds)]
