"""Controls of the reference implementation: which one holds for a symbol at a time."""

from tests.strategy.reference_settings import Record, stricter


class ControlBook:
    """Every control read so far, of every symbol and of ``*``."""

    def __init__(self) -> None:
        self.read_so_far: dict[str, list[tuple[int, Record | None]]] = {}

    def read(self, symbol: str, version: int, record: Record | None) -> None:
        """Take a record of the topic, in the order of its versions (offsets); ``None`` is a tombstone."""
        self.read_so_far.setdefault(symbol, []).append((version, record))

    def newest(self, symbol: str, ts: int) -> tuple[int | None, Record | None]:
        """Version and record of the newest that holds at ``ts``; (None, None) for none or a tombstone."""
        for version, record in reversed(self.read_so_far.get(symbol, [])):
            if record is None:
                return None, None
            effective_from = record.get("effective_from")
            if effective_from is None or effective_from <= ts:
                return version, record
        return None, None

    def in_force(self, symbol: str, ts: int) -> Record | None:
        """The whole control of ``symbol`` at ``ts`` with ``*`` applied, or None outside the universe."""
        version, own = self.newest(symbol, ts)
        return self.whole(version, own, ts) if own is not None else None

    def whole(self, version: int | None, own: Record, ts: int) -> Record:
        """A symbol's own record with every default, and ``*`` of ``ts`` applied."""
        star_version, star = self.newest("*", ts)
        size_step = own.get("size_step", 1.0)
        return {
            "version": version,
            "star_version": star_version,
            "max_position_dollars": own["max_position_dollars"],
            "lot_shares": own.get("lot_shares", 100.0),
            "size_step": size_step,
            "min_fill_shares": own.get("min_fill_shares", 10 * size_step),
            "max_loss_dollars": own.get("max_loss_dollars"),
            "allow_short": own.get("allow_short", True),
            "state": stricter(own.get("state", "ACTIVE"), (star or {}).get("state", "ACTIVE")),
        }
