import pytest

from benchmarks.audit import AuditFailed, Decision, compare

AT, LATER = ("AAPL", 10), ("AAPL", 20)
OURS = {AT: Decision(100.0, 0.5, "BUY"), LATER: Decision(101.0, 0.5, "HOLD")}


def fails(found: dict, last_ts: int = 25) -> str:
    with pytest.raises(AuditFailed) as caught:
        compare("peer", found, OURS, {"AAPL": last_ts})
    return str(caught.value)


def test_equal_signals_pass_and_are_counted() -> None:
    assert compare("peer", OURS, OURS, {"AAPL": 25}) == 2


def test_a_decision_that_only_a_clock_fires_is_not_owed_by_a_peer() -> None:
    assert compare("peer", {AT: OURS[AT]}, OURS, {"AAPL": 19}) == 1


def test_missing_and_additional_signals_are_found() -> None:
    assert "1 of 2 signals are missing, 0 are too many" in fails({AT: OURS[AT]})
    assert "0 of 2 signals are missing, 1 are too many" in fails({**OURS, ("AAPL", 30): OURS[AT]})


@pytest.mark.parametrize(
    "wrong",
    [
        Decision(100.0 * (1 + 3e-9), 0.5, "BUY"),
        Decision(100.0, 0.5 * (1 + 3e-9), "BUY"),
        Decision(100.0, None, "BUY"),
        Decision(100.0, 0.5, "SELL"),
    ],
)
def test_another_mean_deviation_or_verdict_is_found(wrong: Decision) -> None:
    assert "('AAPL', 10)" in fails({**OURS, AT: wrong})


def test_rounding_is_no_difference() -> None:
    near = Decision(100.0 * (1 + 1e-12), 0.5 * (1 - 1e-12), "BUY")
    assert compare("peer", {**OURS, AT: near}, OURS, {"AAPL": 25}) == 2
