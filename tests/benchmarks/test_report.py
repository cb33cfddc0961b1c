import orjson

from benchmarks.report import Table, as_json, row

RUNS = [{"s": 3.0, "MB": 120.4}, {"s": 1.0, "MB": 1234.6}, {"s": 20.0, "MB": 130.0}]
TABLE = Table("A title", "conditions", [row("one", RUNS), row("two", [{"s": 0.125}])], ["left out"])


def test_a_row_shows_least_median_and_most_with_three_digits() -> None:
    assert "| one | 1.00 / 3.00 / 20.0 | 120 / 130 / 1,235 |" in TABLE.markdown()


def test_a_single_run_is_one_number_and_a_missing_figure_is_empty() -> None:
    assert "| two | 0.12 |  |" in TABLE.markdown()


def test_conditions_columns_and_remarks_are_there() -> None:
    shown = TABLE.markdown()
    assert shown.startswith("**A title**. conditions\n\n|  | s | MB |\n|---|---|---|\n")
    assert "\n- left out\n" in shown


def test_json_has_every_single_run() -> None:
    report = orjson.loads(as_json({"cores": 2}, [TABLE]))
    assert report["machine"] == {"cores": 2}
    assert report["tables"][0]["rows"][0] == {
        "name": "one",
        "figures": {"s": [3.0, 1.0, 20.0], "MB": [120.4, 1234.6, 130.0]},
    }
