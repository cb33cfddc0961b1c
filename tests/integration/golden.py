"""The golden cases as records of the topics."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.records import Control

FOLDER = Path(__file__).parent.parent / "strategy" / "golden"
CASES = ("ordinary", "edge")


def table(name: str) -> list[dict[str, str]]:
    """Rows of one golden file, compressed or not."""
    plain, packed = FOLDER / f"{name}.csv", FOLDER / f"{name}.csv.gz"
    with plain.open(newline="") if plain.exists() else gzip.open(packed, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def controls() -> dict[str, Control]:
    """The universe and its limits."""
    return {
        row["symbol"]: Control(max_position_dollars=float(row["max_position_dollars"])) for row in table("controls")
    }


def quotes(case: str) -> list[dict[str, Any]]:
    """The quotes in file order, and the clock that ends them: the largest usable ts of the universe."""
    rows = [
        {"symbol": row["symbol"], "ts": int(row["ts_ns"])}
        | {name: float(row[name]) for name in ("bid", "bid_size", "ask", "ask_size")}
        for row in table(f"quotes_{case}")
    ]
    universe = controls()
    last = max(
        row["ts"]
        for row in rows
        if row["symbol"] in universe and min(row["bid"], row["ask"], row["bid_size"], row["ask_size"]) > 0
    )
    return [*rows, {"clock": last, "feed": "golden", "end": True}]


def trades(case: str) -> Iterator[tuple[int, int, str, float, float, float]]:
    """Expected fills as (decision time, quote's ts, symbol, price, signed size, position after)."""
    for row in table(f"trades_{case}"):
        yield (
            int(row["boundary_ns"]),
            int(row["ts_ns"]),
            row["symbol"],
            float(row["price"]),
            float(row["size"]),
            float(row["position"]),
        )
