"""Columns by their memory: the same as Arrow's own ways, which import pandas."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from agents.backtest.arrow import column, numbers, texts
from tests.backtest import market
from tests.backtest.helpers import write_quotes

EMPTY = np.array([False, True, False, False, True, False, False, False, True, True, False])


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()])
@pytest.mark.parametrize("rows", [0, 1, len(EMPTY)])
def test_columns_are_what_arrow_makes_of_the_same(kind: pa.DataType, rows: int) -> None:
    values, empty = np.arange(len(EMPTY))[:rows] % 3, EMPTY[:rows]
    values = values.astype(np.bool_ if kind == pa.bool_() else np.int64)
    for nulls in (None, empty):
        made = column(values, kind, nulls)
        made.validate(full=True)
        assert made.equals(pa.array(values, mask=nulls).cast(kind))


def test_a_part_of_an_array_of_records_and_dates_are_columns_too() -> None:
    records = np.zeros(3, [("a", "i4"), ("b", "f8")])
    records["b"] = 1, 2, 3
    assert column(records["b"][::2], pa.float64()).to_pylist() == [1.0, 3.0]
    days = np.array(["2013-10-07", "1969-12-31"], "datetime64[D]").astype(np.int64)
    assert column(days, pa.date32()).to_pylist() == [datetime.date(2013, 10, 7), datetime.date(1969, 12, 31)]


@pytest.mark.parametrize("values", [[], [""], ["a", "", "Zürich €", "bc"]])
def test_texts_are_what_arrow_makes_of_the_same(values: list[str]) -> None:
    for empty in (None, EMPTY[: len(values)]):
        made = texts(values, empty)
        made.validate(full=True)
        assert made.equals(pa.array(np.array(values, object), pa.string(), mask=empty))


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float64()])
def test_numbers_come_back_from_parts_and_chunks(kind: pa.DataType) -> None:
    whole = pa.array([None if empty else place for place, empty in enumerate(EMPTY)], kind)
    full = pa.array(range(11), kind)
    for values in (whole, whole.slice(3, 7), whole.slice(3, 0), pa.chunked_array([whole, whole.slice(2)])):
        expected = [np.nan if value is None else value for value in values.to_pylist()]
        np.testing.assert_array_equal(numbers(values), expected)
    assert numbers(whole, null=-1).tolist() == [-1 if value is None else value for value in whole.to_pylist()]
    for values in (full, full.slice(4, 5), pa.chunked_array([full.slice(9)]), pa.chunked_array([], kind)):
        found = numbers(values)
        assert found.tolist() == values.to_pylist() and found.dtype == kind.to_pandas_dtype()


@pytest.mark.parametrize("between", ["--carry", "--reset"])
def test_a_backtest_does_not_import_pandas(tmp_path: Path, between: str) -> None:
    write_quotes(tmp_path / "data", market.quotes())
    program = (
        "import sys\nfrom agents.cli import app\n"
        "try:\n    app(sys.argv[1:], prog_name='mm')\n"
        "except SystemExit as end:\n    sys.exit(end.code or ('pandas' in sys.modules and 'pandas was imported'))"
    )
    arguments = ["backtest", str(tmp_path / "data"), "--work", str(tmp_path / "work"), "--workers", "1"]
    arguments += ["--trades", str(tmp_path / "trades.parquet"), "--all-executions", between]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
