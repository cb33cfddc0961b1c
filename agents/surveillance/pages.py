"""The pages of surveillance: health, metrics, windows and open alerts, served from the event loop itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.stream.errors import BadConfiguration
from agents.surveillance import views
from agents.surveillance.desk import Desk
from agents.surveillance.rows import merged
from agents.surveillance.sources import SOURCES
from schemas.topics import EXECUTIONS, PNL, TRADES


class Pages:
    """Serves a desk's pages; they answer while its tables are still being recovered, as /live does."""

    def __init__(self) -> None:
        self._desk: Desk | None = None
        self._began = time.monotonic()
        self._registry = CollectorRegistry()
        application = web.Application()
        application.router.add_get("/live", self._live)
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/health", self._health)
        application.router.add_get("/windows", self._windows)
        application.router.add_get("/alerts", self._alerts)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def open(self, host: str, port: int) -> int:
        """Serve; return the port, which was chosen here if 0 was given. Raises BadConfiguration."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise BadConfiguration(f"cannot serve pages at {host}:{port}: {error.strerror}") from error
        return int(self._runner.addresses[0][1])

    def show(self, desk: Desk) -> None:
        """Show this desk from now on."""
        self._desk = desk
        self._registry.register(_Metrics(desk))

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _live(self, request: web.Request) -> web.Response:
        return _text(self._desk.live() if self._desk else None)

    async def _ready(self, request: web.Request) -> web.Response:
        return _text(self._not_ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        desk, trouble = self._desk, self._not_ready()
        body: dict[str, Any] = {
            "ready": trouble is None,
            "trouble": trouble,
            "uptime_seconds": round(time.monotonic() - self._began, 3),
        }
        if desk is not None:
            counts: dict[str, dict[str, int]] = {}
            for (topic, result), count in sorted(desk.counts.items()):
                counts.setdefault(topic, {})[result] = count
            body |= {
                "partitions": sorted(desk.held(TRADES)),
                "records": counts,
                "lag": {f"{tp.topic}-{tp.partition}": lag for tp, lag in sorted(desk.watch.lags.items())},
                "settings": desk.settings,
            }
        return _json(body)

    async def _windows(self, request: web.Request) -> web.Response:
        desk = self._desk
        if desk is None or self._not_ready():
            return _text(self._not_ready())
        seen = views.activity(desk.rows(TRADES), desk.rows(EXECUTIONS), desk.settings.kept_minutes)
        symbol = request.query.get("symbol")
        return _json(views.of_symbol(seen, symbol) if symbol else views.overview(seen))

    async def _alerts(self, request: web.Request) -> web.Response:
        desk = self._desk
        if desk is None or self._not_ready():
            return _text(self._not_ready())
        tables = {source.topic.name: desk.rows(source.topic) for source in SOURCES}
        return _json({"open": views.open_alerts(tables)})

    def _not_ready(self) -> str | None:
        return self._desk.ready() if self._desk else "starting"


def _text(trouble: str | None) -> web.Response:
    return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)


def _json(body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


class _Metrics(Collector):
    """What Prometheus asks for, read from the desk when it asks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        desk = self._desk
        ready = desk.ready() is None
        yield GaugeMetricFamily("mm_surveillance_ready", "1 while partitions are assigned and recovered", value=ready)
        records = CounterMetricFamily(
            "mm_surveillance_records", "Records by what became of them", labels=["topic", "result"]
        )
        for labels, count in desk.counts.items():
            records.add_metric(labels, count)
        yield records
        published = CounterMetricFamily("mm_surveillance_alerts", "Alerts published", labels=["rule", "state"])
        for (rule, state), count in desk.published.items():
            published.add_metric((rule, state), count)
        yield published
        lag = GaugeMetricFamily(
            "mm_surveillance_lag_records", "Records between the position and the end", labels=["topic", "partition"]
        )
        for tp, behind in desk.watch.lags.items():
            lag.add_metric((tp.topic, str(tp.partition)), behind)
        yield lag
        yield GaugeMetricFamily(
            "mm_surveillance_judged_timestamp_seconds",
            "Wall time at which what no record tells was judged last",
            value=desk.watch.judged_at,
        )
        if ready:
            yield from self._of_tables()

    def _of_tables(self) -> Iterable[Metric]:
        desk = self._desk
        raised = GaugeMetricFamily("mm_surveillance_open_alerts", "Alerts that are raised", labels=["rule", "severity"])
        counts: dict[tuple[str, str], int] = {}
        tables = {source.topic.name: desk.rows(source.topic) for source in SOURCES}
        for alert in views.open_alerts(tables):
            key = (alert.rule, str(alert.severity))
            counts[key] = counts.get(key, 0) + 1
        for labels, count in counts.items():
            raised.add_metric(labels, count)
        yield raised
        net = sum(row.net for row in desk.rows(PNL).values())
        yield GaugeMetricFamily("mm_surveillance_net", "Net profit and loss of all symbols, dollars", value=net)
        seen = views.activity(desk.rows(TRADES), desk.rows(EXECUTIONS), desk.settings.kept_minutes)
        last = views.five_minutes(merged(seen.minutes.values()), seen.newest_minute)
        for name in ("trades", "turnover", "realised", "decisions"):
            text = f"{name} of the newest five minutes of event time"
            yield GaugeMetricFamily(f"mm_surveillance_window_{name}", text.capitalize(), value=getattr(last, name))
        refused = GaugeMetricFamily(
            "mm_surveillance_window_refused", "Refusals of the newest five minutes of event time", labels=["reason"]
        )
        for reason, count in last.refused.items():
            refused.add_metric((reason,), count)
        yield refused
