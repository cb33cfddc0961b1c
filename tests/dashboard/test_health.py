"""Answers of health pages, whatever is at their addresses."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from agents.dashboard import health

READY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready"
METRICS = b'mm_lag_records{role="signals",instance_name="0"} %s\n'


def page(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """The address of a server that gives one answer after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_agent_tells_its_name_and_its_figures() -> None:
    with answering(READY, page(METRICS % b"7")) as url:
        answer = health.ask(url)
    assert (answer.ready, answer.text, answer.agent, answer.figures) == (True, "ready", "signals-0", {"lag": 7.0})


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], id="another protocol"),
        pytest.param([page(b"ready")[:-2]], id="end in the middle"),
        pytest.param([READY, page(METRICS % b"many")], id="figure that is none"),
        pytest.param([READY, page(b"mm_surveillance_ready 1\nmm_surveillance_window_refused 2\n")], id="without label"),
        pytest.param([READY, page(b'mm_surveillance_ready 1\nmm_surveillance_lag_records{a="} x\n')], id="torn label"),
    ],
)
def test_answer_that_cannot_be_read_is_that_of_an_agent_that_is_not_ready(answers: list[bytes]) -> None:
    with answering(*answers) as url:
        answer = health.ask(url, "signals-0")
    assert not answer.ready and answer.agent == "signals-0"
    assert answer.text.startswith("its answer cannot be read (")


@contextlib.contextmanager
def trickling(begin: bytes, drop: bytes, end: bytes) -> Iterator[str]:
    """The address of a server that answers well, but with two hundred drops before the end, one each 20 ms."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the page has gone, as it should
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(begin)
                        for _ in range(200):
                            done.wait(0.02)
                            connection.sendall(drop)
                        connection.sendall(end)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        done.set()


@pytest.mark.parametrize(
    ("begin", "drop", "end"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-More: ", b"x", b"\r\n\r\n", id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"#\n", b"", id="body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n#\n\r\n", b"0\r\n\r\n", id="chunks"
        ),
    ],
)
def test_answer_that_trickles_is_given_up(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, drop: bytes, end: bytes
) -> None:
    monkeypatch.setattr(health, "_SECONDS", 0.5)
    with trickling(begin, drop, end) as url:
        answer = health.ask(url, "signals-0")
    assert not answer.ready and answer.text == "does not answer (timed out)"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 1000000000000\r\n"], ids=["to the end", "promised"])
def test_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, length: bytes) -> None:
    monkeypatch.setattr(health, "_MOST_BYTES", 1_000)
    with answering(READY, b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + b"#\n" * 1_000) as url:
        answer = health.ask(url)
    assert not answer.ready and "1000 bytes or more" in answer.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://127.0.0.1:9/a b", "http://[::1", "http://"])
def test_address_that_is_none_is_that_of_an_agent_that_is_not_ready(url: str) -> None:
    assert not health.ask(url).ready
