"""A clock for tests that must not depend on how fast a machine is."""


class HandClock:
    """Time that stands still until it is told to go on; reads: how often it was looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads = 0

    def monotonic(self) -> float:
        self.reads += 1
        return self.now
