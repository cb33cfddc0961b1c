"""Each principal may write its own topics and no others, and the desk trades all the same."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.signals import SignalsAgent
from agents.stream.errors import OutputRefused, StreamError
from agents.surveillance.sources import SOURCES
from deploy import acls
from deploy.java import find_java
from deploy.kafka_jars import cache_folder, fetch, pinned_jars
from deploy.ports import HOST
from schemas.records import Control
from schemas.topics import CHECKPOINTS, CONTROLS, DEAD_LETTERS, SIGNALS, TOPICS, Writer
from tests.integration import market
from tests.integration.pipeline import Pipeline, trades_hash
from tests.kafka import Kafka
from tests.security.certificates import PASSWORD
from tests.security.secured import Secured

MONEY_AGENTS = (SignalsAgent, ExecutionAgent, PortfolioAgent)
CONTROL = Control(max_position_dollars=50_000)


def test_the_list_of_rights_is_up_to_date() -> None:
    assert acls.FILE.read_text() == acls.content(), "write it anew: python -m deploy.acls --write"


def test_every_topic_has_a_writer_among_the_principals() -> None:
    writes = {(a.principal, a.name) for a in acls.acls() if a.operation == "Write" and a.kind == "topic"}
    for topic in TOPICS.values():
        found = {principal.removeprefix("User:") for principal, name in writes if name == topic.name}
        assert found == set(acls.WRITERS[topic.writer])
    assert {topic.name for topic in TOPICS.values() if len(acls.WRITERS[topic.writer]) > 1} == {
        DEAD_LETTERS.name,
        CHECKPOINTS.name,
    }


@pytest.mark.parametrize("agent", MONEY_AGENTS, ids=lambda agent: agent.role)
def test_an_agent_may_read_and_write_what_it_uses(agent: Any) -> None:
    role = Writer(agent.role)
    reads = {agent.source, agent.table, CHECKPOINTS} | ({CONTROLS} if role is Writer.SIGNALS else set())
    assert set(acls.READS[role]) == reads
    for topic in {*agent.outputs, agent.table} - {CONTROLS}:
        assert role in acls.WRITERS[topic.writer]


def test_surveillance_may_read_what_it_watches() -> None:
    assert {source.topic for source in SOURCES} <= set(acls.READS[Writer.SURVEILLANCE])


@pytest.mark.parametrize("principal", acls.PRINCIPALS)
def test_the_broker_refuses_who_is_not_the_writer(secured: Secured, prefix: str, principal: Writer) -> None:
    owner = secured.prepare(prefix)
    settings = {"bootstrap.servers": secured.bootstrap, **secured.properties(principal)}
    refused: dict[str, int] = {}

    def note(name: str) -> Any:
        return lambda error, message: error and refused.update({name: error.code()})

    producer = Producer(settings)
    for topic in TOPICS.values():
        producer.produce(owner.config.name(topic.name), b"{}", b"key", on_delivery=note(topic.name))
    assert producer.flush(30) == 0
    own = {topic.name for topic in TOPICS.values() if principal in acls.WRITERS[topic.writer]}
    assert refused == dict.fromkeys(TOPICS.keys() - own, KafkaError.TOPIC_AUTHORIZATION_FAILED)


def test_the_whole_desk_trades_under_its_rights(secured: Secured, kafka: Kafka, prefix: str) -> None:
    owner = secured.prepare(prefix)
    operator, feeds = secured.as_principal("operator", prefix), secured.as_principal("feeds", prefix)
    fill(operator, feeds)
    agents = [secured.as_principal(role, prefix) for role in ("signals", "execution", "portfolio")]
    for agent, role in zip(agents, ("signals", "execution", "portfolio"), strict=True):
        owner.running.append(agent.start(role))
    try:
        owner.wait_until_drained()
        trades = operator.trades()
    finally:
        owner.stop()
    assert len({trade["symbol"] for trade in trades}) == len(market.SYMBOLS)
    open_desk = Pipeline(kafka.bootstrap, prefix)
    open_desk.create_topics()
    fill(open_desk, open_desk)
    open_desk.start_all()
    open_desk.wait_until_drained()
    open_desk.stop()
    assert trades_hash(trades) == trades_hash(open_desk.trades())


@pytest.mark.parametrize("lost", ["signals", "checkpoints"])
def test_an_agent_that_may_not_write_its_output_stops_and_goes_on_once_it_may(
    secured: Secured, prefix: str, lost: str
) -> None:
    owner = secured.prepare(prefix)
    fill(secured.as_principal("operator", prefix), secured.as_principal("feeds", prefix))
    name = owner.config.name(lost)
    rights = [a for a in acls.acls(prefix) if (a.principal, a.operation, a.name) == ("User:signals", "Write", name)]
    assert len(rights) == 1
    secured.revoke(owner.admin, rights)
    desk = secured.as_principal("signals", prefix)
    refused = desk.start("signals")
    refused.thread.join(60)
    assert not refused.thread.is_alive()
    with pytest.raises(OutputRefused, match=rf"Topic authorization failed; .*may not write {name}\)") as caught:
        raise refused.errors[0]
    assert caught.value.exit_status == 10
    assert owner.records(SIGNALS.name) == []
    assert sum(row["counters"]["used"] for row in owner.checkpoints("signals")) == 0
    secured.grant(owner.admin, rights)
    owner.running.append(desk.start("signals"))
    try:
        owner.wait_until_taken()
    finally:
        owner.stop()
    decided = [(s["symbol"], s["ts"], s["reason"] == "END") for s in owner.records(SIGNALS.name)]
    assert len({symbol for symbol, *_ in decided}) == len(market.SYMBOLS)
    assert len(set(decided)) == len(decided)


def test_an_agent_without_a_right_to_its_transactional_id_stops_at_once(secured: Secured, prefix: str) -> None:
    owner = secured.prepare(prefix)
    rights = [a for a in acls.acls(prefix) if a.principal == "User:signals" and a.kind == "transactional-id"]
    secured.revoke(owner.admin, rights)
    refused = secured.as_principal("signals", prefix).start("signals")
    refused.thread.join(60)
    assert not refused.thread.is_alive()
    with pytest.raises(OutputRefused, match=r"Transactional Id authorization failed.*deploy/acls\.txt"):
        raise refused.errors[0]


def fill(operator: Pipeline, feeds: Pipeline) -> None:
    for symbol in market.SYMBOLS:
        operator.control(symbol, CONTROL)
    feeds.quotes(market.quotes())


def test_an_agent_with_anothers_password_cannot_start(secured: Secured, prefix: str) -> None:
    owner = secured.prepare(prefix)
    imposter = secured.as_principal("portfolio", prefix).start("execution")
    imposter.thread.join(60)
    assert not imposter.thread.is_alive()
    with pytest.raises(StreamError, match="authorization failed"):
        raise imposter.errors[0]
    assert owner.records(CHECKPOINTS.name) == []


def test_kafkas_own_command_takes_the_lines(secured: Secured, prefix: str, tmp_path: Path) -> None:
    fetch(pinned_jars(), cache_folder())
    config = tmp_path / "owner.properties"
    config.write_text(
        "security.protocol=SSL\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={secured.certificates.authority}\n"
        f"ssl.keystore.type=PKCS12\nssl.keystore.location={secured.certificates.store}\nssl.keystore.password={PASSWORD}\n"
    )
    java = [find_java(), "-cp", f"{cache_folder()}/*", "org.apache.kafka.tools.AclCommand"]
    command = [*java, "--bootstrap-server", secured.inner, "--command-config", str(config)]
    chosen = [line for line in acls.lines(prefix) if "signals" in line and ("prefixed" in line or "--group" in line)]
    assert len(chosen) >= 2
    for line in chosen:
        subprocess.run([*command, *line.split()], check=True, capture_output=True, timeout=60)
    listed = subprocess.run([*command, "--list"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert f"name={prefix}signals-, patternType=PREFIXED" in listed
    assert "principal=User:signals, host=*, operation=WRITE, permissionType=ALLOW" in listed
    assert HOST not in listed
