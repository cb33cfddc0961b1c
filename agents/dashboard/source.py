"""The one reader behind all pages: it feeds the board and hands out frames, at most four a second, and a beat."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from agents.dashboard import health
from agents.dashboard.board import WATCHED, Board, encode_plot
from agents.dashboard.history import History, execution_row, prediction_row, thinned
from agents.dashboard.machine import PULSE_TOPICS
from agents.dashboard.settings import DashboardSettings
from agents.stream import recent
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker, StreamError
from schemas.partitioning import partition_of
from schemas.topics import EXECUTIONS, PREDS, QUOTES

log = logging.getLogger(__name__)

PERIOD_SECONDS = 0.25
_GATHER_SECONDS = 0.015
_RETRY_SECONDS = 1.0
_BEAT_SECONDS = 1.0
_STOP_SECONDS = 5.0
_SESSION_POINTS = 5_000


class Source:
    """Three threads: one reads records, one asks the broker and the agents how they are, one tells that each second.

    The third waits for nobody, so that pages hear from a server that waits for its broker.
    wanted: the channels that pages show; emit: takes each frame, from any of the threads.
    """

    def __init__(
        self,
        config: KafkaConfig,
        settings: DashboardSettings,
        board: Board,
        wanted: Callable[[], set[str]],
        emit: Callable[[dict[str, bytes], bool], None],
    ) -> None:
        self._config = config
        self._settings = settings
        self._board = board
        self._wanted = wanted
        self._emit = emit
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"dashboard-{name}", daemon=True)
            for name, work in (("reader", self._read), ("pulse", self._feel_pulse), ("beat", self._beat))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Say on the page when a thread ends by a fault of ours: it would look as if nothing happened any more."""
        try:
            work()
        except Exception as error:
            log.exception("the dashboard stopped reading")
            with self._board.lock:
                self._board.machine.note_fault(f"{type(error).__name__}: {error}")

    # -- records --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                reader = recent.RecentReader(self._config, WATCHED, self._settings.window_seconds)
            except StreamError as error:
                self._wait_after(error)
                continue
            try:
                with self._board.lock:
                    self._board.clear()
                self._follow(reader)
            except StreamError as error:
                self._wait_after(error)
            finally:
                reader.close()

    def _wait_after(self, error: StreamError) -> None:
        with self._board.lock:
            self._board.machine.note_no_reader(_told(error))
        self._stopping.wait(_RETRY_SECONDS)

    def _follow(self, reader: recent.RecentReader) -> None:
        """Send a frame a quarter of a second after the last, with everything that has come since."""
        due = 0.0
        anew = True
        while not self._stopping.is_set():
            messages = reader.poll(max(0.0, due - time.monotonic()))
            if messages and reader.caught_up and len(messages) < recent.MOST_AT_ONCE:
                # Many at once cost less than a few at a time. And a commit's records come within milliseconds of each
                # other: one frame for all of them.
                self._stopping.wait(max(due - time.monotonic(), _GATHER_SECONDS))
                messages += reader.poll(0)
            with self._board.lock:
                self._board.apply(messages)
            if time.monotonic() >= due:
                due = time.monotonic() + PERIOD_SECONDS
                with self._board.lock:
                    self._board.machine.note_caught_up(reader.caught_up)
                self._send_frame(anew)
                anew = False

    def _send_frame(self, anew: bool = False) -> None:
        with self._board.lock:
            frame = self._board.frame(self._wanted(), time.monotonic())
        self._emit(frame, anew)

    # -- broker and agents ----------------------------------------------------------------------------------------

    def _feel_pulse(self) -> None:
        pulse = recent.Pulse(self._config, PULSE_TOPICS)
        machine = self._board.machine
        quoted = None
        with ThreadPoolExecutor(8, "dashboard-health") as pool:
            while not self._stopping.wait(_RETRY_SECONDS):
                try:
                    if quoted is None:
                        quoted = recent.newest_time(self._config, QUOTES)
                        ends = pulse.ends()
                        with self._board.lock:
                            machine.note_ends(ends, quoted)
                    else:
                        ends = pulse.ends()
                        with self._board.lock:
                            machine.note_ends(ends)
                except StreamError as error:
                    with self._board.lock:
                        machine.note_no_ends(_told(error))
                pages = dict.fromkeys(self._settings.health) or self._settings.found_health()
                answers = {answer.url: answer for answer in pool.map(health.ask, pages.keys(), pages.values())}
                with self._board.lock:
                    machine.note_health(answers)

    def _beat(self) -> None:
        while not self._stopping.wait(_BEAT_SECONDS):
            with self._board.lock:
                beat = self._board.beat()
            self._emit(beat, False)

    # -- the past -------------------------------------------------------------------------------------------------

    def session(self, symbol: str, beat: Callable[[], None]) -> bytes:
        """A symbol's plot over the whole session, thinned out before the last minutes. Raises StreamError.

        Calls `beat` while it reads, which may raise. Records that cannot be read are left out, as on the board.
        """
        history = History(self._settings.session_seconds)
        name = symbol.encode()
        for topic, columns, decode, row in (
            (PREDS, history.predictions, _decoder(PREDS.record), prediction_row),
            (EXECUTIONS, history.executions, _decoder(EXECUTIONS.record), execution_row),
        ):
            partition = partition_of(symbol, recent.partitions_of(self._config, topic))
            seconds = self._settings.session_seconds
            for message in recent.records_since(self._config, topic, partition, seconds, beat):
                if message.key() == name:
                    with contextlib.suppress(ValueError, RecursionError):
                        columns.add(row(decode(message.value() or b"")))
        with self._board.lock:
            # What came while the topics were read is in the board's rows, which are as new as any frame.
            live = self._board.histories.get(symbol) or History(self._settings.window_seconds)
            predictions = _joined(history.predictions.since(0), live.predictions.since(0))
            executions = _joined(history.executions.since(0), live.executions.since(0))
            then = live.predictions.next, live.executions.next
            kept = live.predictions.next - live.predictions.first
        shown = thinned(predictions, _SESSION_POINTS, kept), executions
        return encode_plot("session", shown, then, then)


def _told(error: StreamError) -> str:
    return f"The broker is away: {error}" if isinstance(error, NoBroker) else str(error)


def _decoder(record: type | None) -> Callable[[bytes], Any]:
    assert record is not None
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode
    return decode


def _joined(old: list[list[float]], new: list[list[float]]) -> list[list[float]]:
    """Columns of `old` up to where `new` begins, then those of `new`."""
    if not new[0]:
        return old
    rows = bisect_left(old[0], new[0][0])
    return [before[:rows] + after for before, after in zip(old, new, strict=True)]
