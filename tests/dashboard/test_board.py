"""What the board makes of records: histories, money, controls, machine; without Kafka or a browser."""

import json
import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dashboard.board import Board
from agents.dashboard.history import Columns, thinned
from agents.dashboard.machine import Machine
from agents.dashboard.money import MOST_POINTS
from agents.dashboard.settings import DashboardSettings
from agents.dashboard.tables import LOG_ROWS
from agents.stream.errors import BadConfiguration
from schemas.records import Checkpoint, Control, Execution, Outcome, Pnl, Pred, Side, State, TickBidAsk
from schemas.times import NS


@dataclass
class Record:
    """A record as the reader hands it over."""

    name: str
    body: Any
    at: int = 0
    record_key: bytes | None = b"AAPL"

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.record_key

    def value(self) -> bytes | None:
        return None if self.body is None else msgspec.json.encode(self.body)

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at * 1000

    def headers(self) -> list[tuple[str, bytes]]:
        return [("mm_reason", b"malformed"), ("mm_topic", b"quotes"), ("mm_offset", b"7")]


def execution(
    ts: int, before: float, shares: float = 0, side: Side | None = None, mid: float = 100.0, **more: Any
) -> Execution:
    after = before + (shares if side is Side.BUY else -shares)
    return Execution(
        symbol=more.get("symbol", "AAPL"),
        ts=ts * NS,
        time="",
        quote_ts=ts * NS,
        outcome=Outcome.FILLED if shares else Outcome.NONE,
        reason=None,
        side=side,
        shares=shares,
        price=more.get("price", mid) if shares else None,
        fee=more.get("fee", 0.0),
        position_before=before,
        position_after=after,
        mid=mid,
        control_version=more.get("version", 0),
        trade_id=None,
    )


def pnl(
    ts: int, net: float, shares: float = 0.0, average: float = 0.0, mark: float = 100.0, fees: float = 0.0, **more: Any
) -> Pnl:
    unrealised = shares * (mark - average)
    return Pnl(
        symbol=more.get("symbol", "AAPL"),
        ts=ts * NS,
        time="",
        shares=shares,
        average_cost=average,
        realised=net - unrealised,
        unrealised=unrealised,
        fees=0.0,
        net=net,
        mark=mark,
        mark_ts=ts * NS,
        exposure=shares * mark,
    )


def pred(ts: int, **more: Any) -> Pred:
    prices = {"bid": 99.0, "ask": 101.0, "mid": 100.0, "ema": 100.0, "sd": 1.0, "buy_below": 99.0, "sell_above": 101.0}
    return Pred(symbol="AAPL", ts=ts * NS, warm=True, **{**prices, **more})


@pytest.fixture
def board() -> Board:
    return Board("", 900, 10)


def frame(board: Board, *wanted: str) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in board.frame(wanted).items()}


def test_frame_holds_only_what_changed_and_what_is_shown(board: Board) -> None:
    board.apply([Record("preds", pred(1)), Record("pnl", pnl(1, 5.0))])
    assert set(frame(board, "preds")) == {"preds"}
    assert frame(board, "preds", "pnl") == {}
    board.apply([Record("preds", pred(2)), Record("preds", pred(3))])
    put = frame(board, "preds")["preds"]["put"]
    assert [row[:3] for row in put] == [["AAPL", "AAPL", 3 * NS]]


def test_log_is_by_time_whatever_came_first(board: Board) -> None:
    later = [Record("executions", execution(ts, 0), at=ts) for ts in range(LOG_ROWS, 2 * LOG_ROWS)]
    earlier = [Record("executions", execution(ts, 0), at=ts) for ts in range(LOG_ROWS)]
    board.apply(later[:-5])
    board.apply(earlier)
    board.frame({"executions"})
    board.apply(later[-5:])
    rows = json.loads(board.snapshot("executions"))["all"]
    assert [row[0] for row in rows] == [f"0-{ts}" for ts in range(LOG_ROWS, 2 * LOG_ROWS)]
    changes = json.loads(board.frame({"executions"})["executions"])
    assert [row[0] for row in changes["put"]] == [f"0-{ts}" for ts in range(2 * LOG_ROWS - 5, 2 * LOG_ROWS)]
    assert changes["drop"] == [f"0-{ts}" for ts in range(LOG_ROWS - 5, LOG_ROWS)]


def test_log_keeps_its_newest_rows(board: Board) -> None:
    board.apply([Record("executions", execution(i, 0), at=i) for i in range(LOG_ROWS + 5)])
    rows = json.loads(board.snapshot("executions"))["all"]
    assert len(rows) == LOG_ROWS
    assert rows[-1][0] == f"0-{LOG_ROWS + 4}"


def test_plot_frames_follow_their_snapshot_without_gap_or_overlap(board: Board) -> None:
    board.apply([Record("preds", pred(ts)) for ts in range(5)])
    snapshot = json.loads(board.snapshot("plot:AAPL"))["all"]["predictions"]
    assert snapshot["columns"][0] == [0, 1, 2, 3, 4] and snapshot["next"] == 5
    board.apply([Record("preds", pred(5))])
    put = frame(board, "plot:AAPL")["plot:AAPL"]["put"]["predictions"]
    assert put["first"] == 5 and put["columns"][0] == [5]
    assert frame(board, "plot:AAPL") == {}


def test_unknown_threshold_is_null(board: Board) -> None:
    board.apply([Record("preds", pred(1, sd=None, buy_below=None, sell_above=None))])
    columns = json.loads(board.snapshot("plot:AAPL"))["all"]["predictions"]["columns"]
    assert columns[4] == [None] and columns[5] == [None]


def test_rows_older_than_the_window_leave() -> None:
    columns = Columns(2, 100.0)
    for second in range(2_000):
        columns.add((float(second), 0.0))
    kept = columns.since(0)[0]
    assert kept[-1] == 1_999 and kept[0] >= 1_999 - 100 - 2 * 64 and kept == sorted(kept)
    assert columns.next == 2_000 and columns.first == 2_000 - len(kept)
    assert columns.since(1_995)[0] == [1_995, 1_996, 1_997, 1_998, 1_999]


@given(st.lists(st.integers(0, 300), max_size=8))
def test_rows_from_any_number_on_are_those_that_were_added(numbers: list[int]) -> None:
    columns, added = Columns(3, 50.0), []
    for number in [*sorted(numbers), 300]:
        while len(added) < number:
            added.append([float(len(added)), random.random(), 2.0])
            columns.add(added[-1])
        held = added[max(number - 5, columns.first) :]
        assert columns.since(number - 5) == ([list(column) for column in zip(*held, strict=True)] or [[], [], []])
        assert columns.next == len(added)


def test_thinning_keeps_the_last_rows_whole() -> None:
    rows = [list(map(float, range(10_000)))]
    [shown] = thinned(rows, 1_000, 500)
    assert len(shown) <= 1_001 and shown[-500:] == rows[0][-500:] and shown[0] == 0
    assert thinned(rows, 20_000, 500) == rows


def test_position_is_marked_to_the_latest_tick_not_to_the_last_decision(board: Board) -> None:
    board.apply([Record("pnl", pnl(10, 100.0, shares=10, average=90.0, mark=100.0))])
    tick = TickBidAsk(symbol="AAPL", ts=11 * NS, bid=104.0, bid_size=1.0, ask=106.0, ask_size=1.0)
    board.apply([Record("ticks_bid_ask", tick)])
    totals = board.money.totals()
    assert totals["unrealised"] == 150.0 and totals["net"] == 150.0 and totals["exposure"] == 1_050.0
    assert totals["marked_ts"] == 11 * NS
    old = TickBidAsk(symbol="AAPL", ts=9 * NS, bid=1.0, bid_size=1.0, ask=1.0, ask_size=1.0)
    board.apply([Record("ticks_bid_ask", old)])
    assert board.money.totals()["unrealised"] == 150.0


def test_many_ticks_at_once_mark_what_is_held_to_the_last_of_each(board: Board) -> None:
    def tick(symbol: str, ts: int, price: float) -> Record:
        row = TickBidAsk(symbol=symbol, ts=ts * NS, bid=price, bid_size=1.0, ask=price, ask_size=1.0)
        return Record("ticks_bid_ask", row)

    board.apply([tick("AAPL", 1, 1.0)])
    ledgers = [
        pnl(10, 0.0, shares=shares, average=100.0, symbol=symbol) for symbol, shares in (("AAPL", 2), ("BAC", 0))
    ]
    board.apply([Record("pnl", ledger) for ledger in ledgers])
    assert [row[0] for row in frame(board, "money")["money"]["put"]] == ["AAPL", "BAC"]
    board.apply([tick(symbol, ts, 100.0 + ts) for ts in (11, 12) for symbol in ("NONE", "BAC", "AAPL")])
    [row] = frame(board, "money")["money"]["put"]
    assert row[0] == "AAPL" and 112.0 in row and row[2] == 24.0
    assert frame(board, "money") == {}
    board.apply([tick("AAPL", 9, 1.0)])
    assert board.money.totals()["unrealised"] == 24.0


@pytest.mark.parametrize("pnl_first", [True, False])
def test_equity_curve_is_the_sum_of_published_nets(board: Board, pnl_first: bool) -> None:
    """Two symbols, random fills; only the newest pnl of each is known, as compaction leaves it."""
    random.seed(5)
    records, newest, nets = [], [], {}
    for symbol in ("AAPL", "GOOG"):
        position = cash = 0.0
        for ts in range(10, 200, 10):
            mid = 100 + random.uniform(-5, 5)
            shares, side = random.choice([(0, None), (10, Side.BUY), (10, Side.SELL)])
            more = {"symbol": symbol, "price": mid + 0.01, "fee": 0.1 if shares else 0.0}
            records.append(Record("executions", execution(ts, position, shares, side, mid, **more), at=ts))
            signed = shares if side is Side.BUY else -shares
            position, cash = position + signed, cash - signed * (mid + 0.01) - more["fee"]
            nets[ts] = nets.get(ts, 0.0) + cash + position * mid
        newest.append(Record("pnl", pnl(ts, cash + position * mid, symbol=symbol), record_key=symbol.encode()))
    board.apply([*newest, *records] if pnl_first else [*records, *newest])
    net, curve = board.curve.before(), {}
    for ts, change in board.curve.points():
        net += change
        curve[round(ts)] = net
    assert curve == {ts: pytest.approx(value, abs=1e-9) for ts, value in nets.items()}


def test_page_that_has_followed_for_long_holds_what_a_new_one_gets(board: Board) -> None:
    followed: dict[float, float] = {}
    totals: dict[str, Any] = {}
    late = 11  # of a time that has been forgotten by then
    for number, ts in enumerate([*range(10, MOST_POINTS + 20), late]):
        board.apply([Record("executions", execution(ts, 1.0, mid=float(ts)), at=number)])
        if number % 50 == 0 or ts == late:
            message = json.loads(board.frame({"totals"}, now=number)["totals"])
            totals = message["totals"]
            followed |= dict(message["put"])
            followed = {at: change for at, change in followed.items() if at > totals["forgotten"]}
    opened = json.loads(board.snapshot("totals"))
    assert totals["forgotten"] > late and len(followed) < MOST_POINTS
    assert list(followed.items()) == [tuple(point) for point in opened["all"]]
    assert totals["before"] + sum(followed.values()) == pytest.approx(late - 10)


def test_control_takes_effect_when_an_execution_names_its_version(board: Board) -> None:
    board.apply([Record("executions", execution(10, 0, version=3))])
    board.apply([Record("controls", Control(max_position_dollars=1.0), at=4)])
    assert row_of(board)["effect"] == ["due", 20 * NS]
    board.apply([Record("executions", execution(20, 0, version=4)), Record("executions", execution(30, 0, version=4))])
    assert row_of(board)["effect"] == ["since", 20 * NS]
    board.apply([Record("controls", Control(max_position_dollars=2.0, state=State.HALTED), at=5)])
    assert row_of(board)["effect"] == ["due", 40 * NS] and row_of(board)["state"] == "HALTED"
    board.apply([Record("controls", {"max_position_dollars": -1}, at=6)])
    assert row_of(board)["version"] == 5
    board.apply([Record("controls", None, at=7)])
    assert json.loads(board.snapshot("controls"))["all"] == []


def test_control_older_than_what_is_known_is_in_force_since_an_unknown_time(board: Board) -> None:
    board.apply([Record("controls", Control(max_position_dollars=1.0), at=4)])
    board.apply([Record("executions", execution(20, 0, version=4), at=9)])
    assert row_of(board)["effect"] == ["before", None]


def row_of(board: Board) -> dict[str, Any]:
    [row] = json.loads(board.snapshot("controls"))["all"]
    return dict(zip((column.name for column in board.tables["controls"].layout.columns), row[1:], strict=True))


def test_record_that_cannot_be_read_is_told_and_the_rest_goes_on(board: Board) -> None:
    board.apply([Record("pnl", {"symbol": 5}), Record("preds", pred(1))])
    assert len(board.tables["preds"]) == 1
    board.machine.note_caught_up(True)
    assert any("could not be read" in text for text in texts(board.machine))


@pytest.mark.parametrize("wrong", [{"symbol": 5}, 7])
def test_records_beside_one_that_cannot_be_read_are_taken(board: Board, wrong: object) -> None:
    board.machine.note_caught_up(True)
    board.apply([Record("preds", pred(1)), Record("preds", wrong, at=7), Record("preds", pred(2))])
    assert json.loads(board.plot("AAPL", 0, 0))["all"]["predictions"]["columns"][0] == [1.0, 2.0]
    assert any("preds [0] 7" in text for text in texts(board.machine))


def test_tombstone_drops_a_row_and_a_later_record_brings_it_back(board: Board) -> None:
    board.apply([Record("pnl", pnl(1, 5.0)), Record("pnl", None)])
    assert len(board.tables["pnl"]) == 0
    board.apply([Record("pnl", None), Record("pnl", pnl(2, 6.0))])
    assert board.tables["pnl"].get("AAPL").net == 6.0


def test_dead_letter_shows_where_it_came_from_and_why(board: Board) -> None:
    board.apply([Record("dead-letters", {"bid": "high"})])
    [row] = json.loads(board.snapshot("dead-letters"))["all"]
    assert row[2] == "malformed" and row[4] == "quotes" and row[6] == 7 and row[8] == '{"bid":"high"}'


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def checkpoint(role: str, offset: int, committed: int) -> Record:
    body = Checkpoint(role=role, partition=0, offset=offset, time="", counters={"used": 1}, instance="0")
    return Record("checkpoints", body, at=committed)


def texts(machine: Machine) -> list[str]:
    return [f"{banner['text']} {banner['detail']}".strip() for banner in machine.state()["banners"]]


def test_agent_is_down_when_it_lags_and_has_not_committed_for_a_while() -> None:
    clock = Clock()
    machine = Machine(clock)
    machine.note_caught_up(True)
    machine.on_checkpoint(checkpoint("signals", 5, 1_000))
    machine.note_ends({"quotes": {0: 10}, "signals": {}, "executions": {}}, quoted=1_000.0)
    assert texts(machine) == []
    clock.now += 8
    assert texts(machine) == ["The signals agent is down: 5 records wait, last commit 8 s ago."]
    machine.on_checkpoint(checkpoint("signals", 10, 1_008))
    assert texts(machine) == []


def test_readers_trouble_stays_until_it_reads_whatever_the_pulse_finds() -> None:
    machine = Machine(Clock())
    ends: dict[str, dict[int, int]] = {"quotes": {}, "signals": {}, "executions": {}}
    assert texts(machine) == ["Reading the topics has not begun. What is shown is what was last known."]
    machine.note_no_reader("missing topics: alerts")
    machine.note_ends(ends, quoted=1_000.0)
    assert texts(machine) == ["missing topics: alerts. What is shown is what was last known."]
    machine.note_caught_up(True)
    assert texts(machine) == []
    machine.note_no_ends("The broker is away")
    machine.note_caught_up(True)
    assert texts(machine) == ["The broker is away. What is shown is what was last known."]
    machine.note_ends(ends)
    assert texts(machine) == []


def test_feed_is_not_called_silent_before_the_broker_was_asked() -> None:
    machine = Machine(Clock())
    machine.note_caught_up(True)
    assert texts(machine) == []
    machine.note_ends({"quotes": {}, "signals": {}, "executions": {}})
    assert texts(machine) == ["The feed is silent: no quotes have come yet."]


def test_record_that_could_not_be_read_is_told_of_for_a_quarter_of_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    machine = Machine(clock)
    machine.note_caught_up(True)
    for offset in (6, 7):
        machine.note_unreadable(f"pnl [0] {offset}", "no number")
        clock.now += 600
        told = f"Records could not be read and are missing here, the last: pnl [0] {offset}: no number"
        assert texts(machine) == [told]
    clock.now += 600
    assert texts(machine) == []
    machine.note_unreadable("pnl [0] 8", "no number")
    logged = [record.getMessage() for record in caplog.records]
    assert [message.partition(": ")[2] for message in logged] == ["pnl [0] 6: no number", "pnl [0] 8: no number"]


def test_what_a_banner_says_is_the_same_while_it_lasts() -> None:
    """A screen reader says it again when it changes; the rest is detail."""
    clock = Clock()
    machine = Machine(clock)
    machine.note_caught_up(True)
    machine.on_checkpoint(checkpoint("signals", 5, 900))
    said, details = [], set()
    for second in range(30):
        clock.now += 1
        machine.note_ends({"quotes": {0: 10 + second // 15}, "signals": {}, "executions": {}}, quoted=900.0)
        machine.note_unreadable(f"pnl [0] {second}", "no number")
        banners = machine.state()["banners"]
        said.append([banner["text"] for banner in banners])
        details |= {banner["detail"] for banner in banners}
    assert len(details) > 30
    assert said[10] == said[14] == ["The signals agent is down:", "The feed is silent:", said[0][-1]]


def test_transaction_marker_at_the_end_is_no_lag() -> None:
    machine = Machine(Clock())
    machine.on_checkpoint(checkpoint("execution", 5, 1_000))
    machine.note_ends({"quotes": {}, "signals": {0: 6}, "executions": {}})
    assert next(agent for agent in machine.state()["agents"] if agent["role"] == "execution")["lag"] == 0


def test_feed_is_silent_after_a_while_without_quotes() -> None:
    clock = Clock()
    machine = Machine(clock, silent_seconds=10)
    machine.note_caught_up(True)
    ends = {"quotes": {0: 0}, "signals": {}, "executions": {}}
    machine.note_ends(ends, quoted=995.0)
    assert texts(machine) == []
    clock.now += 300
    assert texts(machine) == ["The feed is silent: no quotes for 5 min."]
    machine.note_ends({**ends, "quotes": {0: 1}})
    assert not [text for text in texts(machine) if "silent" in text]


def test_decision_age_is_unknown_when_event_time_is_not_the_present() -> None:
    machine = Machine(Clock())
    machine.on_decision(10 * NS, 999_500)
    assert machine.state()["decision_age"] == pytest.approx(989.5)
    machine = Machine(Clock())
    machine.on_decision(-500_000 * NS, 999_500)
    assert machine.state()["decision_age"] is None


def test_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(BadConfiguration, match="--health"):
        DashboardSettings(health=("localhost:9",))
    with pytest.raises(BadConfiguration, match="port"):
        DashboardSettings(port=70_000)


def test_executions_beside_one_that_cannot_be_read_keep_their_own_places(board: Board) -> None:
    board.machine.note_caught_up(True)
    wrong = Record("executions", {"symbol": 5}, at=1)
    board.apply([Record("executions", execution(1, 0), at=0), wrong, Record("executions", execution(2, 0), at=2)])
    rows = json.loads(board.snapshot("executions"))["all"]
    assert [row[0] for row in rows] == ["0-0", "0-2"]
    assert any("executions [0] 1" in text for text in texts(board.machine))


def test_value_that_holds_two_records_is_none(board: Board) -> None:
    class Two(Record):
        def value(self) -> bytes:
            return b"%b,%b" % (msgspec.json.encode(pred(1)), msgspec.json.encode(pred(2)))

    board.machine.note_caught_up(True)
    board.apply([Two("preds", None, at=7), Record("preds", pred(3))])
    assert json.loads(board.plot("AAPL", 0, 0))["all"]["predictions"]["columns"][0] == [3.0]
    assert any("preds [0] 7" in text for text in texts(board.machine))
