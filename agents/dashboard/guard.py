"""The door of the page: who may ask, from which address and which other page."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from agents.dashboard.settings import LOOPBACK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSION_SECONDS = 12 * 3600
_WRONG_PASSWORD_SECONDS = 0.5
_MOST_SESSIONS = 1_000
_MOST_FORM_BYTES = 4_096
_NO_SESSION = 1008
_LOCAL = re.compile(r"/(?!/)[!-\[\]-~]*")
"""A path of this host: browsers take what begins with two slashes for a host, and a backslash for a slash."""

_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        # Vue compiles templates in the page. Nothing is ever fetched from elsewhere.
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'self'; object-src 'none'",
    ),
]


class Guard:
    """Wraps the whole web application.

    Without a password only the loopback's own names are served, so that no foreign page can reach it under a name of
    its own. With one, everything but the login page needs a session, whose WebSockets end with it. A request that
    names another origin is refused, and a WebSocket that names none.
    """

    def __init__(self, app: App, password: str | None, cookie: str = "mm_dashboard") -> None:
        self.app = app
        self._password = password
        self._cookie = cookie
        self._sessions: dict[str, float] = {}
        self._sockets: set[_Socket] = set()
        self._door = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reason = self._foreign(scope, headers)
        if reason is not None:
            await _refuse(scope, receive, send, reason)
        elif self._password is None or self._is_known(headers):
            await self._serve(scope, receive, send, headers)
        elif scope["type"] == "http" and scope["path"] == "/login":
            await self._login(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/":
            await _answer(send, 303, b"", [(b"location", _login_for(scope))])
        else:
            await _refuse(scope, receive, send, "log in first", 401)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: MutableMapping[str, str]) -> None:
        session = _digest(self._session(headers) or "")
        if scope["type"] == "websocket":
            await self._connect(scope, _Socket(receive, send, session))
            return
        if scope["path"] == "/logout" and scope["method"] == "POST":
            self._sessions.pop(session, None)
            for socket in self._sockets:
                if socket.session == session:
                    socket.drop()
            await _answer(send, 303, b"", [(b"location", b"/login")])
            return
        if scope["path"] == "/login":
            await _answer(send, 303, b"", [(b"location", _wanted(scope))])
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    async def _connect(self, scope: Scope, socket: _Socket) -> None:
        """Serve a WebSocket until its page goes or its session ends; without a password there is none."""
        self._sockets.add(socket)
        left = self._sessions.get(socket.session, math.inf) - time.monotonic()
        ending = asyncio.get_running_loop().call_later(left, socket.drop) if left < math.inf else None
        try:
            await self.app(scope, socket.receive, socket.send)
        finally:
            self._sockets.discard(socket)
            if ending is not None:
                ending.cancel()

    def _foreign(self, scope: Scope, headers: MutableMapping[str, str]) -> str | None:
        """Why a request comes from where it must not, None when it does not."""
        host = headers.get("host", "")
        if self._password is None and (urlsplit(f"//{host}").hostname or "") not in LOOPBACK:
            return f"this page is served as 127.0.0.1 or localhost only, not as {host[:80]!r}"
        origin = headers.get("origin")
        if origin is None:
            return "a WebSocket must name its origin" if scope["type"] == "websocket" else None
        if urlsplit(origin).netloc != host:
            return f"requests of other pages ({origin[:80]!r}) are refused"
        return None

    # -- password and sessions ------------------------------------------------------------------------------------

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = False
        if scope["method"] == "POST":
            given = parse_qs((await _body(receive)).decode(errors="replace")).get("password", [""])[0]
            # One at a time, so that guesses in parallel are no faster.
            async with self._door:
                if self._is_right(given):
                    cookie = (b"set-cookie", self._new_cookie(scope))
                    await _answer(send, 303, b"", [(b"location", _wanted(scope)), cookie])
                    return
                await asyncio.sleep(_WRONG_PASSWORD_SECONDS)
            wrong = True
        page = _LOGIN.replace("<!--wrong-->", '<p role="alert">That is not the password.</p>' if wrong else "")
        kind = (b"content-type", b"text/html; charset=utf-8")
        await _answer(send, 401 if wrong else 200, page.encode(), [kind, (b"cache-control", b"no-store")])

    def _is_right(self, given: str) -> bool:
        assert self._password is not None
        return hmac.compare_digest(_digest(given), _digest(self._password))

    def _new_cookie(self, scope: Scope) -> bytes:
        now = time.monotonic()
        self._sessions = {digest: until for digest, until in self._sessions.items() if until > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = now + SESSION_SECONDS
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{self._cookie}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_SECONDS}{secure}"
        return cookie.encode()

    def _session(self, headers: MutableMapping[str, str]) -> str | None:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return None
        return morsel.value if morsel is not None else None

    def _is_known(self, headers: MutableMapping[str, str]) -> bool:
        token = self._session(headers)
        return token is not None and self._sessions.get(_digest(token), 0.0) > time.monotonic()


class _Socket:
    """A WebSocket of a session that can be dropped: for the application its page has then gone."""

    def __init__(self, receive: Receive, send: Send, session: str) -> None:
        self.session = session
        self._receive = receive
        self._send = send
        self._dropped = asyncio.Event()

    def drop(self) -> None:
        """End it."""
        self._dropped.set()

    async def receive(self) -> MutableMapping[str, Any]:
        """What comes next."""
        coming = asyncio.ensure_future(self._receive())
        dropped = asyncio.ensure_future(self._dropped.wait())
        try:
            await asyncio.wait((coming, dropped), return_when=asyncio.FIRST_COMPLETED)
            if coming.done() and not self._dropped.is_set():
                return coming.result()
            with contextlib.suppress(RuntimeError, OSError):  # the page has closed it meanwhile
                await self._send({"type": "websocket.close", "code": _NO_SESSION})
            return {"type": "websocket.disconnect", "code": _NO_SESSION}
        finally:
            coming.cancel()
            dropped.cancel()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Hand a message over; one to a page that has gone gets nowhere."""
        if not self._dropped.is_set():
            await self._send(message)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _login_for(scope: Scope) -> bytes:
    """The login's address, from which it leads back to what was asked for."""
    query = scope["query_string"].decode("latin-1")
    return f"/login?to={quote(f'/?{query}', safe='')}".encode() if query else b"/login"


def _wanted(scope: Scope) -> bytes:
    """Where a login leads: to what its address says, if that is a path of this host."""
    path = parse_qs(scope["query_string"].decode("latin-1")).get("to", [""])[0]
    return path.encode() if _LOCAL.fullmatch(path) else b"/"


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= _MOST_FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [*headers, *_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str, status: int = 403) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
    else:
        await _answer(send, status, f"{reason}\n".encode(), [(b"content-type", b"text/plain; charset=utf-8")])


_LOGIN = (Path(__file__).parent / "web" / "login.html").read_text()
