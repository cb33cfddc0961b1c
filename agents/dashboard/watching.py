"""What surveillance's metrics say: the newest five minutes of the desk, and the alerts that are raised."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_MARK = "mm_surveillance_ready"
_WINDOW = "mm_surveillance_window_"
_LAG = "mm_surveillance_lag_records"
_OPEN = "mm_surveillance_open_alerts"
_REFUSED = "mm_surveillance_window_refused"


def watching(metrics: str) -> dict[str, Any] | None:
    """Sums of the window, refusals by reason, open alerts by rule, and the lag; None of metrics that are another's.

    What is not known yet, because tables are being recovered, is absent.
    """
    if _MARK not in metrics:
        return None
    found: dict[str, Any] = {"lag": 0.0, "window": {}, "refused": {}, "open": []}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == _LAG:
                found["lag"] += sample.value
            elif sample.name == _OPEN:
                found["open"].append({**sample.labels, "count": sample.value})
            elif sample.name == _REFUSED:
                found["refused"][sample.labels["reason"]] = sample.value
            elif sample.name.startswith(_WINDOW):
                found["window"][sample.name.removeprefix(_WINDOW)] = sample.value
    return found
