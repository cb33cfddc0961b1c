"""How often the same input has failed: how long to wait before it is tried again, and when to give up."""

from __future__ import annotations

from collections.abc import Mapping

from agents.stream.errors import Refused, StreamError

_REFUSALS = 6  # with their pauses 1.5 s in all: limits and rights that are being set reach every broker meanwhile
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Setbacks:
    """Failed transactions since the last one after which everything that had failed before was committed.

    Commits in between that do not get so far, such as those of other partitions, change nothing.
    """

    def __init__(self) -> None:
        self._failed: dict[int, int] = {}
        self._count = 0
        self._refusals = 0
        self._refusal: Refused | None = None

    def add(self, positions: Mapping[int, int], error: StreamError) -> None:
        """A transaction has failed. positions: next offset of each partition that is taken back with it."""
        for partition, position in positions.items():
            self._failed[partition] = max(position, self._failed.get(partition, 0))
        self._count += 1
        if isinstance(error, Refused):
            self._refusals += 1
            self._refusal = Refused(str(error), error.remedy)  # itself it would hold the frames that it came through

    def committed(self, positions: Mapping[int, int]) -> None:
        """A transaction is committed, and with it the input of each partition up to the next offset."""
        if self._count:
            self._failed = {p: failed for p, failed in self._failed.items() if positions.get(p, 0) < failed}
            self._end_if_over()

    def drop(self, partition: int) -> None:
        """The partition is somebody else's now."""
        if self._failed.pop(partition, None) is not None:
            self._end_if_over()

    def _end_if_over(self) -> None:
        if not self._failed:
            self._count = self._refusals = 0
            self._refusal = None

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next try: not at all after the first failure, then longer and longer."""
        if self._count < 2:
            return 0.0
        return float(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._count - 2, 10)))

    @property
    def lasting(self) -> Refused | None:
        """The refusal that has come too often to wait for its end."""
        return self._refusal if self._refusals >= _REFUSALS else None
