"""What the page says when broker, feed or an agent is away, and that it comes back by itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from deploy.broker import Broker
from deploy.ports import free_port
from schemas.topics import ALERTS, TOPICS
from tests.dashboard.desk import running_desk
from tests.dashboard.pages import listen, open_page, plot_data
from tests.dashboard.serving import ROOT, served
from tests.integration.pipeline import wait_until
from tests.surveillance import worker as watched


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path / "broker", port=free_port())


def test_page_survives_a_broker_restart(page: Page, broker: Broker, prefix: str) -> None:
    with (
        broker,
        running_desk(broker.bootstrap, prefix, past_seconds=60) as desk,
        served(broker.bootstrap, prefix) as dashboard,
    ):
        open_page(page, dashboard.url, symbol="AAPL")
        wait_until(lambda: len(plot_data(page)["predictions"][0]) > 30, "the plot")
        # What the agents do then is tested elsewhere.
        desk.pipeline.stop()
        broker.stop()
        expect(page.locator(".mm-banners")).to_contain_text("The broker is away", timeout=30_000)
        last = plot_data(page)["predictions"][0][-1]
        broker.start()
        desk.pipeline.start_all()
        expect(page.locator(".mm-banners")).not_to_contain_text("The broker is away", timeout=30_000)
        wait_until(lambda: plot_data(page)["predictions"][0][-1] > last + 2, "new rows after the restart")
        desk.silence()
        wait_until(lambda: same_as_topic(page, desk), "the page to have every record")
        page.close()


def same_as_topic(page: Page, desk) -> bool:
    page.wait_for_timeout(500)
    expected = [p["ts"] / 1e9 for p in desk.pipeline.records("preds") if p["symbol"] == "AAPL"]
    return plot_data(page)["predictions"][0] == expected


# Changes of banners that a screen reader would say: of what is there already, and outside of what is not announced.
COUNT_ANNOUNCED = """() => {
  mm.announced = 0;
  new MutationObserver(changes => {
    for (const { target, removedNodes } of changes) {
      const place = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
      if (place.closest('p') ? !place.closest('[aria-live=off]') : removedNodes.length) mm.announced++;
    }
  }).observe(document.querySelector('.mm-banners'), { subtree: true, childList: true, characterData: true });
}"""


def test_page_tells_of_a_silent_feed_and_of_an_agent_that_is_down(page: Page, kafka, prefix: str) -> None:
    with (
        running_desk(kafka.bootstrap, prefix, past_seconds=20) as desk,
        served(kafka.bootstrap, prefix, "--health=http://127.0.0.1:9", "--health=http://127.0.0.1:x") as dashboard,
    ):
        open_banners = page.locator(".mm-banners")
        page.goto(dashboard.url)
        expect(open_banners).to_contain_text("http://127.0.0.1:9 is not ready", timeout=30_000)
        expect(open_banners).to_contain_text("http://127.0.0.1:x is not ready: its answer cannot be read")
        portfolio = next(running for running in desk.pipeline.running if "portfolio" in running.thread.name)
        portfolio.stop()
        desk.pipeline.running.remove(portfolio)
        expect(open_banners).to_contain_text("The portfolio agent is down", timeout=40_000)
        desk.silence()
        expect(open_banners).to_contain_text("The feed is silent: no quotes for", timeout=40_000)
        page.evaluate(COUNT_ANNOUNCED)
        changing = open_banners.locator("p", has_text="The portfolio agent is down").locator("[aria-live=off]")
        for _ in range(3):
            expect(changing).not_to_have_text(changing.inner_text())
        assert page.evaluate("() => mm.announced") == 0
        desk.pipeline.start("portfolio")
        expect(open_banners).not_to_contain_text("The portfolio agent is down", timeout=40_000)
        page.close()


def test_health_page_of_each_instance_is_shown(page: Page, kafka, prefix: str) -> None:
    port = free_port()
    with running_desk(kafka.bootstrap, prefix, past_seconds=20):
        agent = start_agent("portfolio", "9", port, kafka.bootstrap, prefix)
        try:
            health = f"--health=http://127.0.0.1:{port}"
            with served(kafka.bootstrap, prefix, health, "--health=http://127.0.0.1:9") as dashboard:
                page.goto(f"{dashboard.url}/?tab=machine")
                row = page.locator(f".mm-machine tr[title='http://127.0.0.1:{port}']")
                expect(row).to_contain_text("portfolio-9", timeout=60_000)
                expect(row.locator(".mm-chip")).to_have_text("ready", timeout=60_000)
                expect(page.locator(".mm-machine tr[title='http://127.0.0.1:9']")).to_contain_text("does not answer")
                page.close()
        finally:
            agent.terminate()
            agent.wait(30)


def test_what_surveillance_sees_of_the_desk_is_shown(page: Page, kafka, prefix: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[trade_count]\nabove = 1\nminutes = 15\n")
    with (
        running_desk(kafka.bootstrap, prefix, past_seconds=120) as desk,
        watched.Worker(watched.Desk(kafka.bootstrap, prefix), tmp_path, rules=rules) as surveillance,
        served(kafka.bootstrap, prefix, f"--health={surveillance.url()}") as dashboard,
    ):
        page.goto(f"{dashboard.url}/?tab=machine")
        card = page.locator(".mm-machine [data-role=surveillance]")
        expect(card).to_contain_text("trade_count", timeout=60_000)
        expect(card.locator(".mm-chip")).to_contain_text("raised")
        wait_until(lambda: bool(desk.pipeline.trades()), "a trade")
        turnover = card.get_by_role("row").filter(has=page.get_by_role("cell", name="turnover", exact=True))
        expect(turnover.locator(".mm-number")).not_to_have_text("0.00", timeout=60_000)
        row = page.locator(f".mm-machine tr[title='{surveillance.url()}']")
        expect(row).to_contain_text("surveillance")
        expect(row.locator(".mm-chip")).to_have_text("ready")
        page.close()


def start_agent(role: str, instance: str, port: int, bootstrap: str, prefix: str) -> "subprocess.Popen[bytes]":
    place = [f"--instance={instance}", f"--health-port={port}", f"--bootstrap={bootstrap}", f"--prefix={prefix}"]
    return subprocess.Popen([sys.executable, "-P", "-m", "agents.cli", role, *place], cwd=ROOT)


def test_dead_letter_shows_with_its_reason(page: Page, kafka, prefix: str) -> None:
    with running_desk(kafka.bootstrap, prefix, past_seconds=20) as desk, served(kafka.bootstrap, prefix) as dashboard:
        desk.pipeline.publish("quotes", [(0, b"AAPL", json.dumps({"symbol": "AAPL", "bid": "high"}).encode())])
        page.goto(f"{dashboard.url}/?tab=machine")
        rows = page.locator("[data-table='dead-letters'] .ag-row")
        expect(rows).to_have_count(1, timeout=30_000)
        expect(rows.first).to_contain_text("signals-0")
        expect(rows.first).to_contain_text("bid")
        expect(page.locator("[data-role=signals]")).to_contain_text("running")
        page.close()


def test_page_comes_back_when_the_dashboard_was_started_again(page: Page, kafka, prefix: str) -> None:
    with running_desk(kafka.bootstrap, prefix, past_seconds=20):
        with served(kafka.bootstrap, prefix) as dashboard:
            open_page(page, dashboard.url, symbol="BAC", tab="orders")
            port = dashboard.port
        expect(page.locator(".mm-banners")).to_contain_text("server is away")
        with served(kafka.bootstrap, prefix, port=port):
            expect(page.locator(".mm-banners")).not_to_contain_text("server is away", timeout=30_000)
            expect(page.locator("[data-table='orders'] .ag-row[row-id='BAC']").first).to_be_visible(timeout=30_000)
            expect(page.locator(".mm-panel h2 b").first).to_have_text("BAC")
            page.close()


def test_dashboard_waits_for_topics_that_are_not_there_yet(page: Page, kafka, prefix: str) -> None:
    with served(kafka.bootstrap, prefix) as dashboard:
        page.goto(dashboard.url)
        expect(page.locator(".mm-banners")).to_contain_text("missing topics", timeout=30_000)
        with running_desk(kafka.bootstrap, prefix, past_seconds=20):
            expect(page.locator("[data-table='controls'] .ag-row[row-id='AAPL']").first).to_be_visible(timeout=30_000)
            expect(page.locator(".mm-banners")).not_to_contain_text("missing topics", timeout=30_000)
            page.close()


def test_topic_that_only_the_page_needs_is_missed_aloud(page: Page, kafka, prefix: str) -> None:
    """The broker answers whoever asks for the ends of quotes, signals and executions."""
    config = KafkaConfig(kafka.bootstrap, prefix)
    admin = clients.admin(config)
    topics.create(admin, config, [topic for topic in TOPICS.values() if topic is not ALERTS], 1, 1)
    heard = listen(page, "machine")
    with served(kafka.bootstrap, prefix) as dashboard:
        page.goto(dashboard.url)
        expect(page.locator(".mm-banners")).to_contain_text(f"missing topics: {prefix}alerts", timeout=30_000)
        begun = len(heard)
        wait_until(lambda: page.wait_for_timeout(100) is None and len(heard) > begun + 6, "some beats")
        assert all("missing topics" in machine["banners"][0]["text"] for machine in heard[begun:])
        topics.create(admin, config, [ALERTS], 1, 1)
        expect(page.locator(".mm-banners")).to_contain_text("no quotes have come yet", timeout=30_000)
        page.close()


def test_page_hears_from_a_dashboard_that_waits_for_its_broker(page: Page, prefix: str) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    heard = listen(page, "machine")
    with served(f"127.0.0.1:{free_port()}", prefix) as dashboard:
        open_page(page, dashboard.url)
        expect(page.locator(".mm-banners")).to_contain_text("The broker is away", timeout=30_000)
        begun = len(heard)
        wait_until(lambda: page.wait_for_timeout(100) is None and len(heard) > begun + 12, "a dozen beats")
        assert len([url for url in sockets if url.endswith("/live")]) == 1
        page.close()
