"""How evenly hashed symbols spread over instances: python -m benchmarks.spread

Nothing runs: the partitioner's own rule says where symbols go, and partitions are dealt to instances as evenly as their
number allows, as the groups' assignor deals them. Activity is the same for all symbols, or falls with their rank (the
n-th symbol has 1/n of the first one's quotes). Names are drawn anew several times; median and worst are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from schemas.partitioning import partition_of

SYMBOLS = 10_000
PARTITIONS = (24, 32, 96, 384)
INSTANCES = (8, 20, 24)
DRAWS = 15


def busiest(hashes: Sequence[int], weights: Sequence[float], partitions: int, instances: int) -> float:
    """The load of the busiest instance, as a multiple of the mean.

    >>> busiest([0, 1, 2], [1.0, 1.0, 1.0], 3, 2)
    1.3333333333333333
    """
    loads = [0.0] * instances
    for number, weight in zip(hashes, weights, strict=True):
        loads[number % partitions % instances] += weight
    return max(loads) * instances / sum(weights)


def hashes_of(draw: int) -> list[int]:
    """The symbols' hashes, for names of their own in each draw."""
    return [partition_of(f"S{draw}-{number}", 1 << 31) for number in range(SYMBOLS)]


def main() -> None:
    """Print the table."""
    alike, falling = [1.0] * SYMBOLS, [1 / (rank + 1) for rank in range(SYMBOLS)]
    drawn = [hashes_of(draw) for draw in range(DRAWS)]
    print(f"The busiest of the instances against their mean, {SYMBOLS:,} symbols, median / worst of {DRAWS} draws\n")
    print("| instances | partitions | all symbols alike | activity 1/n |")
    print("|---|---|---|---|")
    for instances in INSTANCES:
        for partitions in PARTITIONS:
            cells = []
            for weights in (alike, falling):
                found = [busiest(hashes, weights, partitions, instances) for hashes in drawn]
                cells.append(f"{statistics.median(found):.2f} / {max(found):.2f}")
            print(f"| {instances} | {partitions} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
