"""The door: foreign pages, foreign names, passwords; tried on real sockets."""

import asyncio
import http.client
import json
import re
import urllib.parse
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import websockets
from playwright.sync_api import BrowserContext, Page, expect

from agents.dashboard import guard
from agents.dashboard.settings import DashboardSettings
from agents.stream.errors import BadConfiguration
from tests.dashboard.loops import in_own_loop
from tests.dashboard.serving import Served, served
from tests.kafka import Kafka

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def open_door(kafka: Kafka) -> Iterator[Served]:
    with served(kafka.bootstrap, "none-") as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def locked_door(kafka: Kafka) -> Iterator[Served]:
    with served(kafka.bootstrap, "none-", "--host=0.0.0.0", password=PASSWORD) as dashboard:
        yield dashboard


def ask(door: Served, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def open_socket(door: Served, path: str, origin: str | None, **headers: str) -> str | None:
    """What a WebSocket that is told of one channel gets first; None when it is refused."""

    async def attempt() -> str | None:
        address = f"ws://127.0.0.1:{door.port}{path}"
        try:
            async with websockets.connect(address, origin=origin, additional_headers=headers) as socket:
                if path == "/live":
                    await socket.send(json.dumps({"channels": ["machine"]}))
                return str(await asyncio.wait_for(socket.recv(), 10))
        except websockets.InvalidStatus as error:
            assert error.response.status_code == 403
            return None

    return in_own_loop(attempt())


def own_origin(door: Served) -> str:
    return f"http://127.0.0.1:{door.port}"


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", None])
@pytest.mark.parametrize("path", ["/live", "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"])
def test_websocket_of_another_page_is_refused(open_door: Served, path: str, origin: str | None) -> None:
    assert open_socket(open_door, path, origin) is None


def test_websocket_of_the_page_itself_is_served(open_door: Served) -> None:
    assert "machine" in json.loads(open_socket(open_door, "/live", own_origin(open_door)) or "{}")


def test_request_that_names_another_origin_is_refused(open_door: Served) -> None:
    assert ask(open_door, "GET", "/", Origin="http://evil.example").status == 403
    assert ask(open_door, "GET", "/", Origin=own_origin(open_door)).status == 200


def test_without_a_password_no_foreign_name_of_the_address_is_served(open_door: Served) -> None:
    """A page of evil.example that resolves to 127.0.0.1 has an origin that fits its host."""
    host = f"evil.example:{open_door.port}"
    assert ask(open_door, "GET", "/", Host=host, Origin=f"http://{host}").status == 403


def test_page_cannot_be_framed_and_loads_from_itself_only(open_door: Served) -> None:
    answer = ask(open_door, "GET", "/")
    assert answer.getheader("x-frame-options") == "DENY"
    assert "default-src 'self'" in (answer.getheader("content-security-policy") or "")


def test_data_socket_takes_no_edits(open_door: Served) -> None:
    async def attempt() -> int:
        address = f"ws://127.0.0.1:{open_door.port}/live"
        async with websockets.connect(address, origin=own_origin(open_door)) as socket:
            await socket.send(json.dumps({"edit": {"symbol": "AAPL", "lot_shares": 1}}))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await asyncio.wait_for(socket.recv(), 10)
            return closed.value.rcvd.code if closed.value.rcvd else 0

    assert in_own_loop(attempt()) == 1003


def test_other_addresses_need_a_password() -> None:
    with pytest.raises(BadConfiguration, match="MM_DASHBOARD_PASSWORD"):
        DashboardSettings(host="0.0.0.0")
    with pytest.raises(BadConfiguration, match="MM_DASHBOARD_PASSWORD"):
        DashboardSettings(host="192.0.2.1", password="")
    assert DashboardSettings(host="0.0.0.0", password=PASSWORD).host == "0.0.0.0"


def test_nothing_is_served_before_the_login(locked_door: Served) -> None:
    assert ask(locked_door, "GET", "/").status == 303
    assert ask(locked_door, "GET", "/assets/web/style.css").status == 401
    assert ask(locked_door, "GET", "/_nicegui_ws/socket.io/?EIO=4&transport=polling").status == 401
    assert open_socket(locked_door, "/live", own_origin(locked_door)) is None


def test_wrong_password_is_refused_and_gives_no_cookie(locked_door: Served) -> None:
    answer = ask(locked_door, "POST", "/login", "password=guess", Origin=own_origin(locked_door))
    assert answer.status == 401
    assert answer.getheader("set-cookie") is None


def test_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use(locked_door: Served) -> None:
    form = urllib.parse.urlencode({"password": PASSWORD})
    answer = ask(locked_door, "POST", "/login", form, Origin=own_origin(locked_door))
    cookie = answer.getheader("set-cookie") or ""
    assert answer.status == 303
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    session = cookie.split(";")[0]
    assert ask(locked_door, "GET", "/", Cookie=session).status == 200
    assert open_socket(locked_door, "/live", own_origin(locked_door), Cookie=session) is not None
    assert open_socket(locked_door, "/live", "http://evil.example", Cookie=session) is None
    assert ask(locked_door, "POST", "/logout", Cookie=session, Origin=own_origin(locked_door)).status == 303
    assert ask(locked_door, "GET", "/", Cookie=session).status == 303


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("/login", "/"),
        ("/login?to=%2F%3Fsymbol%3DBRK%252FB%26tab%3Dtrades", "/?symbol=BRK%2FB&tab=trades"),
        ("/login?to=http://evil.example/", "/"),
        ("/login?to=//evil.example/", "/"),
        ("/login?to=%2F%5Cevil.example/", "/"),
        ("/login?to=%2F%09%2Fevil.example/", "/"),
        ("/login?to=%2F%0D%0ASet-Cookie:a%3Db", "/"),
        ("/login?to=evil.example", "/"),
        ("/login?to=%2F%C3%A9", "/"),
    ],
)
def test_login_leads_to_a_path_of_this_host_only(locked_door: Served, address: str, leads_to: str) -> None:
    form = urllib.parse.urlencode({"password": PASSWORD})
    answer = ask(locked_door, "POST", address, form, Origin=own_origin(locked_door))
    assert (answer.status, answer.getheader("location")) == (303, leads_to)
    session = (answer.getheader("set-cookie") or "").split(";")[0]
    assert ask(locked_door, "GET", address, Cookie=session).getheader("location") == leads_to


def test_login_leads_back_to_what_was_asked_for(page: Page, locked_door: Served) -> None:
    page.goto(f"{locked_door.url}/?tab=trades&symbol=BRK%2FB")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    log_in(page)
    expect(page.get_by_role("tab", name="trades")).to_have_attribute("aria-selected", "true")
    assert page.url == f"{locked_door.url}/?tab=trades&symbol=BRK%2FB"


def test_person_logs_in_and_out(page: Page, locked_door: Served) -> None:
    page.goto(locked_door.url)
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the password")
    log_in(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()


def log_in(page: Page) -> None:
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#status")).to_have_attribute("data-state", re.compile("live|warn|bad"), timeout=30_000)


@pytest.mark.parametrize("path", ["/live", "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"])
def test_logout_ends_the_sockets_of_its_session_and_of_no_other(locked_door: Served, path: str) -> None:
    form = urllib.parse.urlencode({"password": PASSWORD})
    mine, other = (
        (ask(locked_door, "POST", "/login", form, Origin=own_origin(locked_door)).getheader("set-cookie") or "")
        for _ in range(2)
    )

    async def attempt() -> tuple[int, bool]:
        address, origin = f"ws://127.0.0.1:{locked_door.port}{path}", own_origin(locked_door)
        async with (
            websockets.connect(address, origin=origin, additional_headers={"Cookie": mine.split(";")[0]}) as ended,
            websockets.connect(address, origin=origin, additional_headers={"Cookie": other.split(";")[0]}) as kept,
        ):
            await asyncio.to_thread(
                ask, locked_door, "POST", "/logout", Cookie=mine.split(";")[0], Origin=own_origin(locked_door)
            )
            await asyncio.wait_for(ended.wait_closed(), 30)
            await (await kept.ping())
            return ended.close_code or 0, kept.state is websockets.State.OPEN

    assert in_own_loop(attempt()) == (1008, True)


def test_socket_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SESSION_SECONDS", 1)

    async def application(scope: guard.Scope, receive: guard.Receive, send: guard.Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def attempt() -> list[int]:
        door = guard.Guard(application, PASSWORD)
        sent: list[MutableMapping[str, Any]] = []
        coming: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        coming.put_nowait({"type": "http.request", "body": urllib.parse.urlencode({"password": PASSWORD}).encode()})
        login = {
            "type": "http",
            "method": "POST",
            "path": "/login",
            "query_string": b"",
            "headers": [(b"host", b"desk")],
        }
        await door(login, coming.get, send)
        cookie = dict(sent[0]["headers"])[b"set-cookie"].split(b";")[0]
        coming.put_nowait({"type": "websocket.connect"})
        headers = [(b"host", b"desk"), (b"origin", b"http://desk"), (b"cookie", cookie)]
        await asyncio.wait_for(door({"type": "websocket", "path": "/live", "headers": headers}, coming.get, send), 30)
        return [message["code"] for message in sent if message["type"] == "websocket.close"]

    assert in_own_loop(attempt()) == [1008]


def test_other_pages_of_a_session_ask_for_the_password_after_a_logout(
    context: BrowserContext, locked_door: Served
) -> None:
    one, two = context.new_page(), context.new_page()
    one.goto(locked_door.url)
    log_in(one)
    two.goto(locked_door.url)
    expect(two.locator("#status")).to_have_attribute("data-state", re.compile("live|warn|bad"), timeout=30_000)
    one.get_by_role("button", name="Log out").click()
    expect(two.get_by_label("Password")).to_be_visible(timeout=30_000)


def test_page_asks_for_the_password_when_the_dashboard_was_started_again(page: Page, kafka: Kafka) -> None:
    with served(kafka.bootstrap, "none-", password=PASSWORD) as dashboard:
        page.goto(dashboard.url)
        log_in(page)
    with served(kafka.bootstrap, "none-", port=dashboard.port, password=PASSWORD):
        expect(page.get_by_label("Password")).to_be_visible(timeout=30_000)
        log_in(page)
        page.close()
