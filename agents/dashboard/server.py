"""The dashboard as a process: the reader, the hub, the page and the door, put together."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from nicegui import ui

from agents.dashboard.board import Board
from agents.dashboard.guard import Guard
from agents.dashboard.hub import Hub
from agents.dashboard.page import build
from agents.dashboard.sessions import Sessions
from agents.dashboard.settings import DashboardSettings
from agents.dashboard.source import Source
from agents.dashboard.steering import Steering
from agents.processes import garbage
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
_SHUTDOWN_SECONDS = 2
_NOT_UNDERSTOOD = 1003


def serve(config: KafkaConfig, settings: DashboardSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadConfiguration when the port cannot be had."""
    listening = _bind(settings)
    port = listening.getsockname()[1]
    app = application(config, settings)
    guard = Guard(app, settings.password, cookie=f"mm_dashboard_{port}")
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            log_level="warning",
            server_header=False,
            # Frames are small where they are many, and each page would compress the same ones again.
            ws_per_message_deflate=False,
            ws_max_size=1 << 20,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
    # uvicorn raises the signal that ended it once more; a clean end is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("the dashboard is at http://%s:%d", host, port)
    server.run(sockets=[listening])


def application(config: KafkaConfig, settings: DashboardSettings) -> FastAPI:
    """The web application, without its door."""
    board = Board(config.prefix, settings.window_seconds, settings.decision_seconds, settings.silent_seconds)
    hub = Hub(board, lambda symbol: sessions.read(symbol))
    source = Source(config, settings, board, hub.wanted, hub.emit)
    sessions = Sessions(source.session)
    steering = Steering(config, settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        garbage.leave_in_peace()
        source.start()
        try:
            yield
        finally:
            source.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.websocket("/live")
    async def live(page: WebSocket) -> None:
        await page.accept()
        try:
            await hub.serve(page)
        except WebSocketDisconnect:
            return
        except ValueError as error:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await page.close(_NOT_UNDERSTOOD, str(error)[:100])

    build(board, steering, settings)
    ui.run_with(
        app,
        title="Market maker",
        favicon=Path(__file__).parent / "web" / "icon.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        message_history_length=50,
        reconnect_timeout=10.0,
        show_welcome_message=False,
    )
    return app


def _bind(settings: DashboardSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise BadConfiguration(
            f"the dashboard cannot listen at {settings.host}:{settings.port} ({error.strerror}); choose another --port"
        ) from error
    return listening
