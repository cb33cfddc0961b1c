"""The embedded broker, with a real client."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy import broker as embedded
from deploy.broker import Broker, BrokerError
from deploy.ports import free_port

TOPIC = "things"


def create_topic(bootstrap: str, topic: str = TOPIC) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=20)


def produce(bootstrap: str, *values: bytes, topic: str = TOPIC) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "writer"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.commit_transaction(20)


def read(bootstrap: str, count: int, topic: str = TOPIC) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, 20)]
    finally:
        consumer.close()


def is_gone(pid: int, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_a_transaction_is_written_and_read_and_nothing_runs_afterwards(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        running = broker.status()
        assert running is not None
        assert running.bootstrap == broker.bootstrap
        create_topic(broker.bootstrap)
        produce(broker.bootstrap, b"1", b"2")
        assert read(broker.bootstrap, 2) == [b"1", b"2"]
    assert broker.status() is None
    assert not psutil.pid_exists(running.pid)


def test_a_transaction_that_a_killed_broker_leaves_open_is_ended_when_it_is_back(tmp_path: Path) -> None:
    """Else its readers wait for ever; Kafka 4.3.0 to 4.4.0 lose its end (KAFKA-20734)."""
    with Broker(tmp_path) as broker:
        create_topic(broker.bootstrap)
        abandoned = Producer(
            {"bootstrap.servers": broker.bootstrap, "transactional.id": "abandoned", "transaction.timeout.ms": 1000}
        )
        abandoned.init_transactions(20)
        abandoned.begin_transaction()
        abandoned.produce(TOPIC, b"never committed")
        abandoned.flush(20)
        running = broker.status()
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        while broker.status() is not None:
            time.sleep(0.05)
        broker.start()
        produce(broker.bootstrap, b"after")
        assert read(broker.bootstrap, 1) == [b"after"]


def test_data_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with broker:
        address = broker.bootstrap
        create_topic(address)
        produce(address, b"before")
    broker.start()
    running = broker.status()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    assert running.bootstrap == address
    time.sleep(0.2)
    with broker:
        assert broker.bootstrap == address
        produce(address, b"after")
        assert read(address, 2) == [b"before", b"after"]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} .* choose another"):
            Broker(tmp_path, port=port).start()


def test_a_port_lost_to_another_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = [free_port(), other.getsockname()[1]]
        monkeypatch.setattr(embedded, "free_port", lambda: found.pop(0) if found else free_port())
        with Broker(tmp_path) as broker:
            create_topic(broker.bootstrap)
    assert not found


def test_the_controller_gets_a_port_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, another = free_port(), free_port()
    found = [port, port, another]
    monkeypatch.setattr(embedded, "free_port", lambda: found.pop(0))
    with Broker(tmp_path) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"
    assert not found


def test_a_wrong_setting_gives_the_brokers_own_words_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"Invalid value soon for configuration log\.retention\.ms") as caught:
        Broker(tmp_path, properties={"log.retention.ms": "soon"}).start()
    assert "\n" not in str(caught.value)
    assert Broker(tmp_path).status() is None


def test_a_full_disk_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(BrokerError, match="make room"):
        Broker(tmp_path).start()


def test_one_folder_has_one_broker(tmp_path: Path) -> None:
    with Broker(tmp_path), pytest.raises(BrokerError, match="already runs"):
        Broker(tmp_path).start()


def test_two_brokers_run_side_by_side(tmp_path: Path) -> None:
    brokers = [Broker(tmp_path / name) for name in ("one", "two")]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Broker.start, brokers))
        for broker in brokers:
            create_topic(broker.bootstrap)
            produce(broker.bootstrap, broker.bootstrap.encode())
        for broker in brokers:
            assert read(broker.bootstrap, 1) == [broker.bootstrap.encode()]
    finally:
        for broker in brokers:
            broker.stop()


def test_up_outlives_its_process_and_down_ends_it(tmp_path: Path) -> None:
    command = "import sys, pathlib; from deploy.broker import up; print(up(pathlib.Path(sys.argv[1])).pid)"
    pid = int(subprocess.check_output([sys.executable, "-c", command, str(tmp_path)], text=True))
    try:
        running = embedded.status(tmp_path)
        assert running is not None
        assert running.pid == pid
        assert embedded.up(tmp_path) == running
        create_topic(running.bootstrap)
    finally:
        assert embedded.down(tmp_path)
    assert is_gone(pid)
    assert not embedded.down(tmp_path)


def test_one_whose_starter_is_killed_meanwhile_is_found_and_awaited(tmp_path: Path) -> None:
    command = (
        "import os, pathlib, signal, sys; from deploy import broker\n"
        "broker._wait_until_ready = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        "broker.up(pathlib.Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", command, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGTERM
    left = embedded.status(tmp_path)
    assert left is not None
    try:
        assert embedded.up(tmp_path) == left
        create_topic(left.bootstrap)
    finally:
        assert embedded.down(tmp_path)
    assert is_gone(left.pid)


def test_a_broker_that_ends_at_its_start_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(BrokerError):
        Broker(tmp_path, properties={"log.retention.ms": "soon"}).start()
    assert not (tmp_path / "broker.json").exists()


def test_a_path_may_have_any_letters_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    home = tmp_path / "büro 日本 😀 \\"
    with Broker(home) as broker:
        create_topic(broker.bootstrap)
        before = broker.bootstrap
    assert (home / "data" / f"{TOPIC}-0").is_dir()
    with Broker(home) as broker:
        assert broker.bootstrap == before


def test_clients_find_a_broker_again_but_never_a_copy_of_it(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    try:
        before = embedded.up(home).bootstrap
        create_topic(before)
        produce(before, b"kept")
        embedded.down(home)
        shutil.copytree(home, copy)
        elsewhere = embedded.up(copy).bootstrap
        assert elsewhere != before
        assert read(elsewhere, 1) == [b"kept"]
        assert embedded.up(home).bootstrap == before
        embedded.down(home)
        with socket.create_server(("127.0.0.1", int(before.split(":")[1]))):
            assert embedded.up(home).bootstrap != before
    finally:
        embedded.down(home)
        embedded.down(copy)


def test_a_foreign_process_is_never_taken_for_the_broker(tmp_path: Path) -> None:
    stale = f'{{"pid": {os.getpid()}, "port": 1, "log": "", "started": 0.0}}'
    (tmp_path / "broker.json").write_text(stale)
    assert embedded.status(tmp_path) is None
    assert not embedded.down(tmp_path)


def test_the_broker_of_a_killed_process_ends(tmp_path: Path) -> None:
    command = (
        "import sys, pathlib, time; from deploy.broker import Broker\n"
        "with Broker(pathlib.Path(sys.argv[1])) as broker:\n"
        "    print(broker.status().pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", command, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    assert is_gone(pid)


def test_a_free_port_is_none_that_a_connection_may_be_given() -> None:
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not given.exists():
        pytest.skip("only Linux says which ports those are")
    first, last = map(int, given.read_text().split())
    assert not any(first <= free_port() <= last for _ in range(100))
