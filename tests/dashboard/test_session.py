"""The last 15 minutes by default, the whole session on request."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest
import websockets
from confluent_kafka import Producer
from playwright.sync_api import Page, WebSocketRoute, expect

from schemas.partitioning import partition_of
from tests.dashboard.desk import Desk, running_desk
from tests.dashboard.loops import in_own_loop
from tests.dashboard.pages import cell, open_page, plot_data
from tests.dashboard.serving import Served, served
from tests.integration.pipeline import wait_until
from tests.kafka import Kafka

QUARTER = 900
LONG_SECONDS = 1_500


@pytest.fixture(scope="module")
def desk(kafka: Kafka) -> Iterator[Desk]:
    with running_desk(kafka.bootstrap, f"t{secrets.token_hex(3)}-", past_seconds=LONG_SECONDS) as desk:
        desk.silence()
        desk.pipeline.wait_until_drained()
        yield desk


def test_plots_show_a_quarter_of_an_hour_then_the_session_then_the_quarter_again(
    page: Page, desk: Desk, dashboard: Served
) -> None:
    topic = [pred["ts"] / 1e9 for pred in desk.pipeline.records("preds") if pred["symbol"] == "AAPL"]
    assert topic[-1] - topic[0] > LONG_SECONDS - 60
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: plot_data(page)["predictions"][0][-1:] == topic[-1:], "the newest record")
    drawn = plot_data(page)["drawn"][0]
    low, high = page.evaluate("() => mm.plots.range()")
    assert low == pytest.approx(topic[-1] - QUARTER) and high >= topic[-1]
    assert [t for t in drawn if t >= low] == [t for t in topic if t >= low]

    page.get_by_role("button", name="Session").click()
    wait_until(lambda: plot_data(page)["predictions"][0] == topic, "the session from its first record")
    assert page.evaluate("() => mm.plots.range()[0]") == pytest.approx(topic[0])
    executions = [e["ts"] / 1e9 for e in desk.pipeline.records("executions") if e["symbol"] == "AAPL"]
    assert plot_data(page)["executions"][0] == executions

    page.get_by_role("button", name="15 min").click()
    expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("() => mm.plots.range()[0]") == pytest.approx(topic[-1] - QUARTER)


COUNT_SNAPSHOTS = """() => {
  const receive = mm.plots.receive;
  mm.snapshots = 0;
  mm.plots.receive = function (message) {
    const missing = receive.call(this, message);
    mm.snapshots += Boolean(message.all);
    return missing;
  };
}"""


class Line:
    """The page's line to the server: it can be cut, and it can lose what the page asks for."""

    def __init__(self, page: Page) -> None:
        self.sessions = 0
        self.loses_wishes = False
        self._socket: WebSocketRoute | None = None
        page.route_web_socket(re.compile("/live$"), self._opened)

    def cut(self) -> None:
        """End the connection; the page opens another."""
        assert self._socket is not None
        self._socket.close()

    def _opened(self, socket: WebSocketRoute) -> None:
        self._socket, server = socket, socket.connect_to_server()

        def to_page(message: str | bytes) -> None:
            self.sessions += "session" in (json.loads(message).get("plot:AAPL") or {})
            socket.send(message)

        def to_server(message: str | bytes) -> None:
            if not (self.loses_wishes and "session" in json.loads(message)):
                server.send(message)

        server.on_message(to_page)
        socket.on_message(to_server)


def test_session_stays_when_the_line_was_cut(page: Page, desk: Desk, dashboard: Served) -> None:
    topic = [pred["ts"] / 1e9 for pred in desk.pipeline.records("preds") if pred["symbol"] == "AAPL"]
    executions = [e["ts"] / 1e9 for e in desk.pipeline.records("executions") if e["symbol"] == "AAPL"]
    line = Line(page)
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: plot_data(page)["predictions"][0][-1:] == topic[-1:], "the newest record")
    page.get_by_role("button", name="Session").click()
    wait_until(lambda: plot_data(page)["predictions"][0] == topic, "the session")
    page.evaluate(COUNT_SNAPSHOTS)
    line.cut()
    wait_until(lambda: page.evaluate("() => mm.snapshots") > 0, "a snapshot")
    assert plot_data(page)["predictions"][0] == topic and plot_data(page)["executions"][0] == executions
    assert line.sessions == 1  # what was here already has not been read again


def test_session_that_was_lost_on_its_way_is_asked_for_again(page: Page, desk: Desk, dashboard: Served) -> None:
    topic = [pred["ts"] / 1e9 for pred in desk.pipeline.records("preds") if pred["symbol"] == "AAPL"]
    line = Line(page)
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: plot_data(page)["predictions"][0][-1:] == topic[-1:], "the newest record")
    line.loses_wishes = True
    page.get_by_role("button", name="Session").click()
    line.cut()
    line.loses_wishes = False
    wait_until(lambda: plot_data(page)["predictions"][0] == topic, "the session", 30)


def test_another_symbol_is_followed_whatever_was_done_to_the_one_before(
    page: Page, desk: Desk, dashboard: Served
) -> None:
    open_page(page, dashboard.url, symbol="AAPL", tab="positions")
    wait_until(lambda: len(plot_data(page)["drawn"][0]) > 100, "the plot")
    drawn = "() => mm.plots.charts[0].data[0].length"
    page.get_by_role("button", name="Pause").click()
    cell(page, "positions", "GOOG", "symbol").click()
    expect(page.locator(".mm-panel h2 b").first).to_have_text("GOOG")
    wait_until(lambda: page.evaluate(drawn) > 100, "the plot of the other symbol", 30)
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Zoom in").click()
    expect(page.get_by_role("button", name="Latest")).to_be_visible()
    cell(page, "positions", "BAC", "symbol").click()
    expect(page.locator(".mm-panel h2 b").first).to_have_text("BAC")
    expect(page.get_by_role("button", name="Latest")).to_be_hidden()


def test_end_of_the_dashboard_waits_for_no_session(desk: Desk) -> None:
    """A transaction that stays open holds the reader of the session back."""
    pipeline = desk.pipeline
    writer = {"bootstrap.servers": pipeline.bootstrap, "transactional.id": f"{pipeline.prefix}open"}
    producer = Producer({**writer, "transaction.timeout.ms": 120_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(pipeline.config.name("preds"), b"{}", b"AAPL", partition_of("AAPL", pipeline.partitions))
    assert producer.flush(30) == 0
    with served(pipeline.bootstrap, pipeline.prefix) as dashboard:  # it must end soon after it is told to
        in_own_loop(ask_for_session(dashboard))
    producer.abort_transaction(30)


async def ask_for_session(dashboard: Served) -> None:
    """Return when the session is being read: wishes are taken one after the other."""
    address = f"ws://127.0.0.1:{dashboard.port}/live"
    async with websockets.connect(address, origin=dashboard.url) as socket:
        await socket.send(json.dumps({"session": "AAPL"}))
        await socket.send(json.dumps({"channels": ["machine"]}))
        assert "machine" in json.loads(await socket.recv())
