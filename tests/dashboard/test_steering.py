"""Controls edited on the page, on the real pipeline: what is sent is what the agents then do."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from agents.controls import operator
from agents.controls.operator import Written
from agents.dashboard.settings import DashboardSettings
from agents.dashboard.steering import Refused, Steering
from agents.stream import clients
from agents.stream.config import KafkaConfig
from schemas.records import Control
from tests.dashboard.desk import SYMBOLS, Desk, control, controls
from tests.dashboard.loops import in_own_loop
from tests.dashboard.pages import cell, edit, open_page
from tests.dashboard.serving import Served, served
from tests.integration.pipeline import wait_until


@pytest.fixture(autouse=True)
def _usual_controls(desk: Desk) -> None:
    """Each test begins with the desk's usual controls."""
    desk.pipeline.control("*", None)
    for symbol in SYMBOLS:
        desk.pipeline.control(symbol, Control(max_position_dollars=20_000, lot_shares=50))


def newest(desk: Desk, symbol: str) -> dict[str, Any]:
    return [e for e in desk.pipeline.records("executions") if e["symbol"] == symbol][-1]


def states(desk: Desk) -> set[str]:
    return {desk.pipeline.table("orders")[symbol]["state"] for symbol in SYMBOLS}


def test_edited_control_changes_the_next_executions_and_says_since_when(
    page: Page, desk: Desk, dashboard: Served
) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "AAPL", "lot_shares")).to_have_text("50")
    # Executions are known: else the page could not tell whether the edit came before them.
    expect(cell(page, "controls", "AAPL", "effect")).to_contain_text(re.compile("in force|since"), timeout=30_000)
    edit(page, "AAPL", "lot_shares", "20")
    expect(page.locator(".q-notification", has_text="AAPL: sent as version")).to_contain_text(
        "holds from the next decision"
    )
    version = [m.offset() for m in desk.pipeline.messages("controls")][-1]
    assert control(desk, "AAPL")["lot_shares"] == 20
    expect(cell(page, "controls", "AAPL", "effect")).to_contain_text("since", timeout=15_000)

    def filled() -> list[dict[str, Any]]:
        executions = desk.pipeline.records("executions")
        return [e for e in executions if e["symbol"] == "AAPL" and e["control_version"] == version and e["shares"]]

    wait_until(filled, "fills under the new control")
    assert all(e["shares"] <= 20 for e in filled())


def test_edit_keeps_what_others_changed_meanwhile(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "GOOG", "lot_shares")).to_have_text("50")
    target = cell(page, "controls", "GOOG", "lot_shares")
    target.dblclick()
    target.locator("input").fill("9")
    desk.pipeline.control("GOOG", Control(max_position_dollars=12_345, lot_shares=50))
    page.wait_for_timeout(1_000)
    target.locator("input").press("Enter")
    wait_until(lambda: control(desk, "GOOG")["lot_shares"] == 9, "the edit to be written")
    assert control(desk, "GOOG")["max_position_dollars"] == 12_345


def test_refused_edit_is_rolled_back_with_the_reason(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "BAC", "max_position_dollars")).to_have_text("20,000.00")
    before = control(desk, "BAC")
    for wrong in ("-5", "plenty", "1,5", "1000,50", "1,000,5", "1.000,5"):
        edit(page, "BAC", "max_position_dollars", wrong)
        expect(page.locator(".q-notification", has_text="Refused: BAC").last).to_contain_text("max_position_dollars")
        expect(cell(page, "controls", "BAC", "max_position_dollars")).to_have_text("20,000.00")
    assert control(desk, "BAC") == before
    close = page.locator(".q-notification", has_text="Refused: BAC").last.get_by_role("button")
    expect(close).to_have_css("color", "rgb(255, 255, 255)")  # as the text beside it, on red


def test_commas_between_thousands_are_taken_as_they_are_shown(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "BAC", "max_position_dollars")).to_have_text("20,000.00")
    edit(page, "BAC", "max_position_dollars", "1,234,567.50")
    wait_until(lambda: control(desk, "BAC")["max_position_dollars"] == 1_234_567.5, "the edit to be written")


def test_lot_that_is_too_small_to_open_anything_is_pointed_out(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "BAC", "lot_shares")).to_have_text("50")
    row = page.locator("[data-table='controls'] .ag-center-cols-container .ag-row[row-id='BAC']")
    expect(row).not_to_have_class(re.compile("mm-doubtful"))
    edit(page, "BAC", "lot_shares", "7")
    warning = page.locator(".q-notification", has_text="BAC opens nothing")
    expect(warning).to_contain_text("its lot of 7 is below min_fill_shares, 10; to open with such lots, lower")
    expect(row).to_have_class(re.compile("mm-doubtful"))
    edit(page, "BAC", "min_fill_shares", "7")
    expect(row).not_to_have_class(re.compile("mm-doubtful"))
    wait_until(lambda: control(desk, "BAC")["min_fill_shares"] == 7, "the smaller fill to be written")
    assert control(desk, "BAC")["lot_shares"] == 7


def test_state_is_chosen_and_a_flag_is_ticked(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    cell(page, "controls", "BAC", "allow_short").locator("input").click()
    wait_until(lambda: control(desk, "BAC")["allow_short"] is False, "the flag to be written")
    target = cell(page, "controls", "BAC", "state")
    target.dblclick()
    target.locator("select").select_option("REDUCING")
    wait_until(lambda: control(desk, "BAC")["state"] == "REDUCING", "the state to be written")
    target.press("Enter")
    page.keyboard.type("HALTED")
    page.keyboard.press("Enter")
    wait_until(lambda: control(desk, "BAC")["state"] == "HALTED", "the state to be written by keys")
    assert control(desk, "BAC")["allow_short"] is False


def test_halt_of_a_symbol_does_not_wait_for_the_time_of_a_control_that_waits(desk: Desk) -> None:
    """Year 2033: the control that it is based on never holds in this test."""
    waiting = Control(max_position_dollars=20_000, lot_shares=50, effective_from=1_990_000_000_000_000_000)
    desk.pipeline.control("AAPL", waiting)
    written = in_own_loop(Steering(desk.pipeline.config, DashboardSettings()).edit("AAPL", "state", "HALTED"))
    assert "next decision" in written.holds
    wait_until(lambda: desk.pipeline.table("orders")["AAPL"]["state"] == "HALTED", "AAPL to be halted")
    with pytest.raises(Refused, match="PAUSED"):
        in_own_loop(Steering(desk.pipeline.config, DashboardSettings()).edit("AAPL", "state", "PAUSED"))


@contextlib.contextmanager
def controls_held_back(desk: Desk) -> Iterator[Callable[[], None]]:
    """A transaction on controls that stays open, so that reading them hangs, until what it gives is called."""
    config = KafkaConfig(desk.pipeline.bootstrap, desk.pipeline.prefix, {"transaction.timeout.ms": "120000"})
    left_open = clients.transactional_producer(config, "left-open")
    left_open.init_transactions(30)
    left_open.begin_transaction()
    left_open.produce(config.name("controls"), None, b"NONE", 0)
    assert left_open.flush(30) == 0
    with contextlib.ExitStack() as ending:
        ending.callback(left_open.abort_transaction, 30)
        yield ending.close


def test_halt_all_does_not_wait_for_an_edit_that_hangs(desk: Desk) -> None:
    async def attempt() -> None:
        steering = Steering(desk.pipeline.config, DashboardSettings())
        with controls_held_back(desk) as let_go:
            edit = asyncio.create_task(steering.edit("AAPL", "lot_shares", 20))
            halted = await asyncio.wait_for(steering.halt_all(), 60)
            assert "next decision" in halted.holds
            assert not edit.done()
            let_go()
            await edit

    in_own_loop(attempt())
    assert controls(desk)["*"]["state"] == "HALTED"
    assert control(desk, "AAPL")["lot_shares"] == 20


def test_halt_has_a_thread_however_many_changes_hang(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    let_go = threading.Event()

    def hang(*_: object) -> Written:
        let_go.wait()
        raise RuntimeError

    monkeypatch.setattr(operator, "set_control", hang)

    async def attempt() -> None:
        steering = Steering(desk.pipeline.config, DashboardSettings())
        try:
            edits = [asyncio.create_task(steering.edit(f"S{i}", "lot_shares", 1)) for i in range(100)]
            await asyncio.wait_for(steering.edit("AAPL", "state", "HALTED"), 60)
            await asyncio.wait_for(steering.halt_all(), 60)
            assert not any(edit.done() for edit in edits)
        finally:
            let_go.set()
        await asyncio.gather(*edits, return_exceptions=True)

    in_own_loop(attempt())
    assert control(desk, "AAPL")["state"] == controls(desk)["*"]["state"] == "HALTED"


def test_change_that_was_asked_for_before_a_halt_does_not_undo_it(desk: Desk) -> None:
    """The first hangs in its read, the second waits behind it."""

    async def attempt() -> None:
        steering = Steering(desk.pipeline.config, DashboardSettings())
        await steering.halt_all()
        with controls_held_back(desk) as let_go:
            resumes = [asyncio.create_task(steering.resume_all()) for _ in range(2)]
            halt = asyncio.create_task(steering.halt_all())
            await asyncio.wait_for(halt, 60)
            assert not any(resume.done() for resume in resumes)
            let_go()
            for resume in resumes:
                with pytest.raises(Refused, match="a halt was asked for"):
                    await resume

    in_own_loop(attempt())
    assert controls(desk)["*"]["state"] == "HALTED"


def test_halt_comes_after_a_change_that_was_on_its_way_and_before_one_that_was_asked_for_later(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    on_its_way, let_go, write = threading.Event(), threading.Event(), operator.write_confirmed

    def late(config: KafkaConfig, topic: str, records: list[tuple[str, bytes | None]]) -> list[int]:
        if records[0][1] is None:
            on_its_way.set()
            let_go.wait()
        return write(config, topic, records)

    async def attempt() -> tuple[int, int]:
        steering = Steering(desk.pipeline.config, DashboardSettings())
        await steering.halt_all()
        try:
            early = asyncio.create_task(steering.resume_all())
            await asyncio.to_thread(on_its_way.wait)
            await asyncio.wait_for(steering.halt_all(), 60)
            later = asyncio.create_task(steering.resume_all())
        finally:
            let_go.set()
        return (await early).version, (await later).version

    monkeypatch.setattr(operator, "write_confirmed", late)
    first, last = in_own_loop(attempt())
    of_all = {m.offset(): m.value() for m in desk.pipeline.messages("controls") if m.key() == b"*"}
    between = [value for version, value in of_all.items() if first < version < last]
    assert len(between) == 1 and b"HALTED" in (between[0] or b"")
    assert max(of_all) == last


def test_edit_shows_on_another_open_page(context: BrowserContext, desk: Desk, dashboard: Served) -> None:
    one, two = context.new_page(), context.new_page()
    for page in (one, two):
        open_page(page, dashboard.url, tab="controls")
    edit(one, "AAPL", "lot_shares", "11")
    expect(cell(two, "controls", "AAPL", "lot_shares")).to_have_text("11")


def test_symbol_is_added_trades_and_is_removed(page: Page, desk: Desk, dashboard: Served) -> None:
    desk.symbols.append("TEST")
    open_page(page, dashboard.url, tab="controls")
    page.get_by_label("Symbol to add").fill("TEST")
    page.get_by_role("button", name="Add symbol").click()
    row = page.locator("[data-table='controls'] .ag-row[row-id='TEST']").first
    expect(row).to_be_visible()
    expect(cell(page, "controls", "TEST", "effect")).to_contain_text("since", timeout=30_000)
    page.get_by_label("Symbol to add").fill("TEST")
    page.get_by_role("button", name="Add symbol").click()
    expect(page.locator(".q-notification", has_text="TEST is there already")).to_be_visible()
    row.locator("input[type=checkbox]").first.click()
    page.get_by_role("button", name="Remove selected").click()
    expect(page.locator("[data-table='controls'] .ag-row[row-id='TEST']")).to_have_count(0)
    wait_until(lambda: newest(desk, "TEST")["reason"] == "REMOVED", "the symbol's last execution")
    desk.symbols.remove("TEST")


def test_name_that_is_no_symbol_is_refused(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    page.get_by_label("Symbol to add").fill("no spaces")
    page.get_by_role("button", name="Add symbol").click()
    expect(page.locator(".q-notification", has_text="Refused")).to_contain_text("printable ASCII")
    assert "no spaces" not in controls(desk)


def test_halt_all_asks_first_then_halts_until_resumed(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    page.get_by_role("button", name="Halt all").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".mm-dialog")).to_have_count(0)
    assert "*" not in controls(desk)
    page.get_by_role("button", name="Halt all").click()
    page.locator(".mm-dialog").get_by_role("button", name="Halt all").click()
    expect(cell(page, "controls", "*", "state")).to_have_text("HALTED")
    expect(cell(page, "controls", "*", "effect")).to_contain_text("since", timeout=15_000)
    expect(page.locator(".mm-banners")).to_contain_text("HALTED")
    wait_until(lambda: states(desk) == {"HALTED"}, "every order to be halted")
    page.get_by_role("button", name="Resume all").click()
    expect(page.get_by_role("button", name="Halt all")).to_be_visible()
    wait_until(lambda: states(desk) == {"ACTIVE"}, "every order to be active")


def test_read_only_page_offers_no_change_and_refuses_one(page: Page, desk: Desk) -> None:
    before = controls(desk)
    with served(desk.pipeline.bootstrap, desk.pipeline.prefix, "--read-only") as dashboard:
        open_page(page, dashboard.url, tab="controls")
        expect(page.locator("[data-table='controls'] .ag-row[row-id='AAPL']").first).to_be_visible()
        expect(page.get_by_text("read-only")).to_be_visible()
        for name in ("Halt all", "Add symbol", "Remove selected"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        cell(page, "controls", "AAPL", "lot_shares").dblclick()
        expect(cell(page, "controls", "AAPL", "lot_shares").locator("input")).to_have_count(0)
        page.close()
    assert controls(desk) == before


def test_read_only_server_refuses_whatever_a_page_sends(desk: Desk) -> None:
    before = controls(desk)
    steering = Steering(desk.pipeline.config, DashboardSettings(read_only=True))
    changes: list[Callable[[], Coroutine[Any, Any, Written]]] = [
        lambda: steering.edit("AAPL", "lot_shares", 1),
        lambda: steering.edit("*", "state", "HALTED"),
        lambda: steering.add("NEW", 1, 1),
        lambda: steering.remove("AAPL"),
        steering.halt_all,
        steering.resume_all,
    ]
    for change in changes:
        with pytest.raises(Refused, match="read-only"):
            in_own_loop(change())
    assert controls(desk) == before
