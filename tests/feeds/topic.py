"""What a quotes topic holds."""

from agents.stream.config import KafkaConfig
from agents.stream.tail import last_records
from schemas.records import Clock
from schemas.topics import QUOTES
from tests.feeds.rows import Row, content

PARTITIONS = 3


def held(config: KafkaConfig) -> dict[int, list[Row | Clock]]:
    """Rows and clocks of every partition, in order."""
    found: dict[int, list[Row | Clock]] = {partition: [] for partition in range(PARTITIONS)}
    for message in last_records(config, QUOTES, 1_000_000):
        found[message.partition()] += content(message.value())
    return found


def quotes(config: KafkaConfig) -> list[Row]:
    """All rows that the topic holds, by ts."""
    rows = [each for records in held(config).values() for each in records if isinstance(each, Row)]
    return sorted(rows, key=lambda each: each.ts)


def clocks(config: KafkaConfig) -> list[list[Clock]]:
    """The clocks of each partition."""
    return [[each for each in records if isinstance(each, Clock)] for records in held(config).values()]
