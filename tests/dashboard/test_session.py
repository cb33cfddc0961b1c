"""The last 15 minutes by default, the whole session on request."""

import json
import secrets
from collections.abc import Iterator

import pytest
import websockets
from confluent_kafka import Producer
from playwright.sync_api import Page, expect

from schemas.partitioning import partition_of
from tests.dashboard.desk import Desk, running_desk
from tests.dashboard.loops import in_own_loop
from tests.dashboard.pages import open_page, plot_data
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


@pytest.fixture(scope="module")
def dashboard(desk: Desk) -> Iterator[Served]:
    with served(desk.pipeline.bootstrap, desk.pipeline.prefix) as dashboard:
        yield dashboard


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
