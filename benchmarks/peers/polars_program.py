"""The moving mean alone, by polars: `polars_program.py PARQUET HALF_LIFE_NS OUT`; prints what it cost as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

import polars as pl

_WARM_UP_ROWS = 10_000


def main(source: str, half_life_ns: int, target: str) -> None:
    """Compute the mean of every row in memory, and keep the last one of each symbol."""
    quotes = pl.read_parquet(source).with_columns(pl.from_epoch("ts", time_unit="ns"))
    mid = (pl.col("bid") + pl.col("ask")) / 2
    mean = mid.ewm_mean_by("ts", half_life=f"{half_life_ns}ns").over("symbol")
    quotes.head(_WARM_UP_ROWS).select(mean)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = quotes.select("symbol", ema=mean)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    result.group_by("symbol").last().write_parquet(target)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
