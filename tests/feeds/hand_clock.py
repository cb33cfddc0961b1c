"""A clock for tests that must not depend on how fast a machine is."""


class HandClock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now
