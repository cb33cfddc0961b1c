"""Reading topics without a group: a stretch of partitions once, or one topic for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from agents.stream import clients, topics
from agents.stream.batch import raise_for
from agents.stream.config import KafkaConfig
from agents.stream.errors import HeldBack

_POLL_SECONDS = 0.1
_END_SECONDS = 2.0


def read_until(
    config: KafkaConfig,
    spans: Mapping[tuple[str, int], tuple[int, int]],
    beat: Callable[[], None] = lambda: None,
    patience: float = 60.0,
) -> Iterator[Message]:
    """Committed records of each (topic, partition) from its first offset to before its end.

    Waits for transactions that are still open below an end. `beat` is called while it works. Raises HeldBack when
    nothing at all comes for `patience` seconds.
    """
    left = {at: end for at, (first, end) in spans.items() if first < end}
    if not left:
        return
    reader = clients.span_reader(config)
    reader.assign([TopicPartition(topic, partition, spans[topic, partition][0]) for topic, partition in left])
    last_news = time.monotonic()
    try:
        while left:
            beat()
            messages = _next(reader)
            if messages:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > patience:
                behind = ", ".join(f"{topic} [{partition}]" for topic, partition in left)
                raise HeldBack(
                    f"reading {behind} has made no progress for {patience:.0f} s. "
                    "See docs/operations.md, hanging transaction."
                )
            for message in messages:
                error = message.error()
                at = (message.topic(), message.partition())
                if error is None:
                    if at in left and message.offset() < left[at]:
                        yield message
                    reached = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached = message.offset()
                else:
                    raise_for(error)
                    continue
                if at in left and reached >= left[at]:
                    del left[at]
    finally:
        reader.close()


def _next(reader: Consumer) -> list[Message]:
    first = reader.poll(_POLL_SECONDS)
    return [first, *reader.consume(10_000, 0)] if first is not None else []


class Follower:
    """Reads a topic of one partition whole, then follows it."""

    def __init__(self, config: KafkaConfig, topic: str, admin: AdminClient) -> None:
        self._topic = config.name(topic)
        # On a connection of its own: behind a fetch that waits for news, each question would wait half a second.
        self._asker = clients.reader(config)
        self._position = topics.starts(admin, self._topic, [0])[0]
        self._reader = clients.reader(config)
        self._reader.assign([TopicPartition(self._topic, 0, self._position)])

    def poll(self) -> Iterator[Message]:
        """Records that have come, without waiting."""
        for message in self._reader.consume(1_000, 0):
            yield from self._taken(message)

    def catch_up(self, beat: Callable[[], None] = lambda: None) -> Iterator[Message]:
        """Records up to what is the topic's end at the time of the call."""
        end = self._end(beat)
        while self._position < end:
            beat()
            yield from self.poll()
            if self._position < end:
                first = self._reader.poll(_POLL_SECONDS)
                if first is not None:
                    yield from self._taken(first)

    def _taken(self, message: Message) -> Iterator[Message]:
        """The message if it is a record; the position is behind it."""
        if message.error() is None:
            self._position = message.offset() + 1
            yield message
        elif message.error().code() == KafkaError._PARTITION_EOF:
            self._position = max(self._position, message.offset())
        else:
            raise_for(message.error())

    @property
    def position(self) -> int:
        """The next offset to be read."""
        return self._position

    def _end(self, beat: Callable[[], None]) -> int:
        """The end of what is committed: an open transaction is no record yet, and must not hold its readers up."""
        while True:
            beat()
            try:
                at = TopicPartition(self._topic, 0)
                answer = self._asker.get_watermark_offsets(at, timeout=_END_SECONDS, cached=False)
            except KafkaException as error:
                if error.args[0].fatal():
                    raise
                continue
            # None: the broker did not answer. Without the end nothing may be decided on, so ask again.
            if answer is not None:
                return int(answer[1])

    def close(self) -> None:
        """Leave the topic."""
        self._reader.close()
        self._asker.close()
