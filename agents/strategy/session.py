"""The exchange's trading day: when a decision time is open, closing or closed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numba as nb
import numpy as np

from agents.strategy.settings import Settings
from schemas.times import NS

NO_SESSION, SESSION_OPEN, SESSION_CLOSING, SESSION_CLOSED = 0, 1, 2, 3
"""Session states; `NO_SESSION` means that no calendar restricts trading."""


@nb.njit(cache=True, nogil=True)
def session_at(ts: int, opens: np.ndarray, closings: np.ndarray, closes: np.ndarray) -> int:
    """State of the session at a time; each session is open from opens[i], closing from closings[i] to closes[i]."""
    if len(opens) == 0:
        return NO_SESSION
    i = np.searchsorted(opens, ts, side="right") - 1
    if i < 0 or ts >= closes[i]:
        return SESSION_CLOSED
    return SESSION_CLOSING if ts >= closings[i] else SESSION_OPEN


def _empty() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Calendar:
    """Sessions of an exchange in order; int64[n] ns each. Empty: trading is never restricted."""

    opens: np.ndarray = field(default_factory=_empty)
    closings: np.ndarray = field(default_factory=_empty)
    closes: np.ndarray = field(default_factory=_empty)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `session_at` takes."""
        return self.opens, self.closings, self.closes


def calendar_of(settings: Settings) -> Calendar:
    """The sessions that the settings name, with half days as the exchange published them.

    Raises ValueError when no calendar has that name.
    """
    if settings.session is None:
        return Calendar()
    import exchange_calendars  # slow to import, and most desks trade without one

    try:
        calendar = exchange_calendars.get_calendar(settings.session, start="1990-01-01")
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ValueError(
            f"session={settings.session}: no exchange calendar has this name (XNYS is New York)"
        ) from error
    opens, closes = calendar.opens_nanos, calendar.closes_nanos
    closings = np.maximum(opens, closes - round(settings.close_minutes * 60 * NS))
    return Calendar(opens, closings, closes)
