"""Fixtures of the backtest's tests: the browser of the page's tests, for reports."""

from tests.dashboard.conftest import browser, chromium, context, page, playwright

__all__ = ["browser", "chromium", "context", "page", "playwright"]
