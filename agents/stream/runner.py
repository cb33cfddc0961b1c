"""The loop around an agent: consume, transform, produce, in Kafka transactions, exactly once."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from agents.stream import clients, refusals, topics
from agents.stream.agent import Agent, needed_topics
from agents.stream.background import in_background
from agents.stream.batch import Batch, ConsumeSource, Source
from agents.stream.config import KafkaConfig
from agents.stream.errors import OutputRefused, ProducerLost, StreamError, TransactionFailed
from agents.stream.librdkafka import Unavailable
from agents.stream.metrics import Metrics
from agents.stream.partition import HeldPartition
from agents.stream.queue_source import QueueSource
from agents.stream.read import Follower
from agents.stream.restore import Restorer
from agents.stream.setbacks import Setbacks
from agents.stream.transaction import Transactions
from schemas.topics import Topic, Writer

log = logging.getLogger(__name__)
_MAX_TRANSACTION_BYTES = 32 << 20
_IDLE_POLL_SECONDS = 0.1
_LAG_SECONDS = 2.0
_GRACE_SECONDS = 2.0
LIVE_SECONDS = 10.0
"""A loop that has not turned for so long, or whose transaction takes longer, is not alive."""


class _Stopped(Exception):
    """The work in hand takes too long for a process that is to end; the next one does it again."""


@dataclass(frozen=True)
class RunnerSettings:
    """How the runner batches.

    commit_seconds: the longest that a transaction with output is kept open on purpose; batch_records: the most in one
    batch; direct: take batches straight from librdkafka where that is tested, else by `consume`.
    """

    commit_seconds: float = 0.1
    batch_records: int = 50_000
    direct: bool = True


class Runner:
    """Runs one agent instance until `stop` is called. Raises StreamError when it cannot go on."""

    def __init__(self, agent: Agent, config: KafkaConfig, instance: str, settings: RunnerSettings) -> None:
        self._agent = agent
        self._config = config
        self._instance = instance
        self._settings = settings
        self._source_topic = config.name(agent.source.name)
        self._held: dict[int, HeldPartition] = {}
        self._stop = threading.Event()
        self._stop_asked = math.inf
        self._turned = time.monotonic()
        self._stale = False  # the state in memory is ahead of the last commit and must be taken anew
        self._setbacks = Setbacks()
        self._failure: BaseException | None = None
        self._followers: list[Follower] = []
        self._next_lag = 0.0
        self._transactions = Transactions(config, f"{agent.role}-{instance}", self.beat)
        self.metrics = Metrics(agent.role, instance, lambda: self.ready() is None, self._row_counters)

    # -- what others ask -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the loop after the work in hand; may be called from a signal handler or another thread."""
        self._stop_asked = min(self._stop_asked, time.monotonic())
        self._stop.set()

    def beat(self) -> None:
        """Note that the loop still works; called by what may wait for long, which ends when the process is to end."""
        self._turned = time.monotonic()
        if self._turned - self._stop_asked > _GRACE_SECONDS:
            raise _Stopped

    def follow(self, topic: Topic) -> Follower:
        """A follower of a topic of one partition, closed with the runner."""
        follower = Follower(self._config, topic.name, self._admin)
        self._followers.append(follower)
        return follower

    @property
    def assigned(self) -> list[int]:
        """Partitions held and restored."""
        return sorted(self._held)

    def live(self) -> str | None:
        """What is wrong with the loop, None if it turns."""
        age = time.monotonic() - self._turned
        if age > LIVE_SECONDS:
            return f"the loop has not turned for {age:.0f} s"
        open_for = self.seconds_in_transaction()
        return f"one transaction has taken {open_for:.0f} s" if open_for > LIVE_SECONDS else None

    def ready(self) -> str | None:
        """Why the agent does no work yet, None if it does."""
        return self.live() or (None if self._held else "no partition is assigned")

    def seconds_in_transaction(self) -> float:
        """How long the oldest transaction that is not committed has been open, 0 when there is none."""
        return self._transactions.seconds_open()

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop`, then commit and leave."""
        try:
            self._run()
        except _Stopped:
            log.info("%s-%s: what was in hand is left for the next process", self._agent.role, self._instance)

    def _run(self) -> None:
        self._admin = clients.admin(self._config)
        chain = dict.fromkeys([self._agent.source, *needed_topics(self._agent)])
        self._partitions = topics.check(self._admin, self._config, chain)
        opening = in_background("open", self._transactions.open)
        self._agent.start(self)
        self._consumer: Consumer = clients.consumer(self._config, group=self._agent.role, instance=self._instance)
        self._source = self._open_source()
        self._restorer = Restorer(
            self._config,
            self._agent.role,
            self._agent.source,
            self._agent.table,
            self._agent.state_version,
            self._admin,
            self.beat,
        )
        try:
            # Before a table is read: this aborts what a predecessor of the same name left open. And before the group
            # gives us partitions that others work on: they would lie idle as long as this takes.
            opening.result()
            self._consumer.subscribe(
                [self._source_topic],
                on_assign=self._kept(self._on_assign),
                on_revoke=self._kept(self._on_revoke),
                on_lost=self._kept(self._on_lost),
            )
            while not self._stop.is_set():
                self._turn()
            self._finish()
        finally:
            self._close()

    def _open_source(self) -> Source:
        if self._settings.direct:
            try:
                return QueueSource(self._consumer, self._source_topic, self._settings.batch_records)
            except Unavailable as reason:
                log.info("taking batches by consume: %s", reason)
        return ConsumeSource(self._consumer, self._settings.batch_records)

    def _turn(self) -> None:
        self.beat()
        try:
            if self._stale:
                self._wait_after_setback()
                self._take_anew()
            batches = self._poll()
            for batch in batches:
                self._process(batch)
            self._transactions.settle(wait_for_it=False)
            if self._due(drained=not batches):
                self._commit()
        except TransactionFailed as error:
            self._abort(error)
        except ProducerLost as error:
            self._replace_producer(error)
        self._measure_lag()

    def _poll(self) -> list[Batch]:
        try:
            return self._source.poll(self._poll_seconds())
        finally:
            if self._failure is not None:
                raise self._failure

    def _poll_seconds(self) -> float:
        return 0.0 if self._transactions.records else _IDLE_POLL_SECONDS

    def _due(self, drained: bool) -> bool:
        if self._stale:  # a callback has aborted while we polled: what has changed since is to be read again
            return False
        now = time.monotonic()
        started = self._transactions.started
        if started is None:
            return any(held.must_be_stored(now) for held in self._held.values())
        late = now - started >= self._settings.commit_seconds
        return drained or late or self._transactions.bytes > _MAX_TRANSACTION_BYTES

    def _process(self, batch: Batch) -> None:
        held = self._held.get(batch.partition)
        # After a rebalance or a seek, records of before may still arrive: they are read again in their turn.
        if held is None or self._stale or batch.next_offset <= held.position:
            return
        batch = batch.since(held.position)
        held.process(batch)
        self.metrics.records.inc(len(batch))

    def _commit(self, everything: bool = False) -> None:
        """Begin to commit what was published, and the state of the partitions that must be stored; or everything.

        The offsets of all that have a checkpoint go with it, changed or not: they fence a process that the group has
        thrown out.
        """
        self._transactions.settle()
        everything = everything or self._transactions.started is None  # no output waits: one transaction, not many
        began = time.monotonic()
        stored = [h for h in self._held.values() if h.changed and (everything or h.must_be_stored(began))]
        for held in stored:
            held.store()
        newest_ms = max(held.newest_ms for held in stored)
        offsets = {p: held.stored_position for p, held in self._held.items() if held.stored_position is not None}
        sent = self._transactions.records

        def done(ended: float) -> None:
            at = time.time() - (time.monotonic() - ended)
            self._setbacks.committed(offsets)
            self.metrics.commits.inc()
            self.metrics.sent.inc(sent)
            self.metrics.commit_seconds.observe(ended - began)
            self.metrics.last_commit.set(at)
            self.metrics.decision_age.set(max(0.0, at - newest_ms / 1000))

        self._transactions.commit(self._source_topic, offsets, self._consumer, done)

    def _commit_and_wait(self) -> None:
        """Leave nothing uncommitted, but for what is stale."""
        if self._stale:
            return
        if any(held.changed for held in self._held.values()):
            self._commit(everything=True)
        self._transactions.settle()

    # -- when things go wrong ------------------------------------------------------------------------------------

    def _abort(self, error: StreamError) -> None:
        log.warning("transaction aborted: %s", error)
        self._set_back(error)
        try:
            self._transactions.abort()
        except ProducerLost as lost:
            self._replace_producer(lost)

    def _replace_producer(self, error: StreamError) -> None:
        log.warning("producer replaced: %s", error)
        self._set_back(error)
        self._transactions.open()

    def _set_back(self, error: StreamError) -> None:
        self.metrics.aborts.inc()
        if not self._stale:
            self._stale = True
            reached = {p: h.position for p, h in self._held.items() if h.changed or h.stored_position is not None}
            self._setbacks.add(reached, error)

    def _wait_after_setback(self) -> None:
        """Leave what made transactions fail the time to pass. Raises OutputRefused for what does not."""
        refusal = self._setbacks.lasting
        if refusal is not None:
            writers = (self._agent.role, Writer.MONEY_AGENTS, Writer.EVERY_AGENT)
            names = {self._config.name(t.name) for t in needed_topics(self._agent) if t.writer in writers}
            raise OutputRefused(refusals.told(refusal, refusals.unwritable_of(self._admin, names)))
        self._stop.wait(self._setbacks.pause_seconds)

    def _take_anew(self) -> None:
        """Bring every partition back to what was committed."""
        partitions = list(self._held)
        if partitions:
            self._consumer.incremental_unassign([TopicPartition(self._source_topic, p) for p in partitions])
            self._held.clear()
            self._take(partitions)
        self._stale = False

    def _take(self, partitions: Collection[int]) -> None:
        began = time.monotonic()
        self.metrics.partitions.set(len(self._held) + len(partitions))
        stored = self._restorer.take(self._consumer, partitions)
        for partition, state in stored.items():
            self._held[partition] = HeldPartition(
                self._agent, self._config, self._instance, self._transactions, partition, self._partitions, state
            )
        self._source.assign([TopicPartition(self._source_topic, p, self._held[p].position) for p in stored])
        self.metrics.restore_seconds.set(time.monotonic() - began)
        log.info("%s-%s holds partitions %s", self._agent.role, self._instance, self.assigned)

    # -- rebalances ----------------------------------------------------------------------------------------------

    def _kept(self, callback: Callable[[Consumer, list[TopicPartition]], None]) -> Callable[..., None]:
        """The callback with its exception kept for the loop: through the client's C code it would arrive mangled."""

        def call(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                callback(consumer, partitions)
            except BaseException as error:
                self._failure = error

        return call

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions or self._stop.is_set():  # a process that is to end restores nothing any more
            consumer.incremental_assign([])
            return
        self._end_transaction()
        self._take([at.partition for at in partitions])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._end_transaction()
        self._drop(partitions)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Somebody else may own them by now. What is being committed the group refuses, if it comes too late.
        if self._transactions.uncommitted and not self._stale:
            self._abort(TransactionFailed("partitions were lost"))
        self._drop(partitions)
        consumer.incremental_unassign(partitions)

    def _end_transaction(self) -> None:
        """Commit what is open before partitions change hands, or abort it if that fails."""
        try:
            self._commit_and_wait()
        except TransactionFailed as error:
            self._abort(error)
        except ProducerLost as error:
            self._replace_producer(error)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for at in partitions:
            self._held.pop(at.partition, None)
            self._setbacks.drop(at.partition)
        self.metrics.partitions.set(len(self._held))
        if not self._held:
            self.metrics.lag.set(0)

    # -- the end -------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        try:
            self._commit_and_wait()
        except StreamError as error:
            # Nothing is lost: the next process of this name aborts it and reads the input again.
            log.warning("the last transaction was not committed: %s", error)

    def _close(self) -> None:
        self._stop.set()
        # Closing revokes partitions: what an exception has left half done must not be committed on that occasion.
        self._stale = True
        for follower in self._followers:
            follower.close()
        self._source.close()
        self._serve_rebalances()
        self._consumer.close()
        self._transactions.close()
        self._agent.close()

    def _serve_rebalances(self) -> None:
        """Serve what waits: a revocation that is served while the group is left can make librdkafka wait for ever."""
        until = time.monotonic() + _GRACE_SECONDS  # where batches come by `consume`, records are in the way
        while self._consumer.poll(0) is not None and time.monotonic() < until:
            pass

    # -- figures -------------------------------------------------------------------------------------------------

    def _measure_lag(self) -> None:
        now = time.monotonic()
        if now < self._next_lag or not self._held:
            return
        self._next_lag = now + _LAG_SECONDS
        marker = 1 if self._agent.source.transactional else 0
        lag = 0
        for partition, held in self._held.items():
            # Known from the fetches that run anyway; no request of its own.
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._source_topic, partition), cached=True)
            lag += max(0, end - marker - held.position)
        self.metrics.lag.set(lag)

    def _row_counters(self) -> Iterable[tuple[int, Mapping[str, int]]]:
        return [(partition, held.counters()) for partition, held in list(self._held.items())]
