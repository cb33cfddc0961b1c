"""What an agent tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_COMMIT_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """The runner's metrics of one agent process.

    Whether it is ready and the row counters of its tasks are asked for when Prometheus asks: a loop that hangs could
    tell neither.
    """

    def __init__(
        self,
        role: str,
        instance: str,
        ready: Callable[[], bool],
        rows: Callable[[], Iterable[tuple[int, Mapping[str, int]]]],
    ) -> None:
        self.registry = CollectorRegistry()
        labels = {"role": role, "instance_name": instance}
        names = list(labels)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, names, registry=self.registry).labels(**labels)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, names, registry=self.registry).labels(**labels)

        self.records = counter("mm_input_records", "Records taken from the input")
        self.sent = counter("mm_output_records", "Records sent, table rows and checkpoints included")
        self.commits = counter("mm_transactions", "Transactions committed")
        self.aborts = counter("mm_transactions_aborted", "Transactions that were aborted")
        gauge("mm_ready", "1 while partitions are assigned and restored and the loop turns").set_function(ready)
        self.partitions = gauge("mm_partitions", "Partitions assigned, restored or not")
        self.lag = gauge("mm_lag_records", "Records between the position and the end of the input")
        self.decision_age = gauge("mm_decision_age_seconds", "Age of the newest input record when it was committed")
        self.last_commit = gauge("mm_last_commit_timestamp_seconds", "Wall time of the last commit")
        self.restore_seconds = gauge("mm_restore_seconds", "Time that the last restore took")
        self.commit_seconds = Histogram(
            "mm_commit_seconds",
            "Time that a commit took",
            names,
            registry=self.registry,
            buckets=_COMMIT_BUCKETS,
        ).labels(**labels)
        self.registry.register(_Rows(labels, rows))


class _Rows(Collector):
    def __init__(self, labels: Mapping[str, str], rows: Callable[[], Iterable[tuple[int, Mapping[str, int]]]]) -> None:
        self._labels = labels
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "mm_rows", "Rows by what became of them", labels=[*self._labels, "partition", "result"]
        )
        for partition, counters in self._rows():
            for result, count in counters.items():
                family.add_metric([*self._labels.values(), str(partition), result], count)
        yield family
