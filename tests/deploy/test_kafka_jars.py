"""The pinned jars; the smallest of them stands for all."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.kafka_jars import Jar, JarError, fetch, pinned_jars


@pytest.fixture(scope="module")
def jar() -> Jar:
    return min(pinned_jars(), key=lambda jar: jar.size)


def test_a_jar_with_another_hash_is_refused_and_not_kept(tmp_path: Path, jar: Jar) -> None:
    wrong = dataclasses.replace(jar, sha256="0" * 64)
    with pytest.raises(JarError, match=f"{jar.file_name} is not the file .* SHA-256 differs"):
        fetch([wrong], tmp_path)
    assert not list(tmp_path.rglob("*.jar"))


def test_a_torn_jar_is_fetched_again(tmp_path: Path, jar: Jar) -> None:
    (tmp_path / jar.file_name).write_bytes(b"torn")
    (path,) = fetch([jar], tmp_path)
    assert path.stat().st_size == jar.size


def test_two_fetch_at_once(tmp_path: Path, jar: Jar) -> None:
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: fetch([jar], tmp_path), range(2)))
    assert paths == [[tmp_path / jar.file_name]] * 2
    assert paths[0][0].stat().st_size == jar.size


def test_a_jar_that_cannot_be_had_gives_a_clear_line(tmp_path: Path, jar: Jar) -> None:
    absent = dataclasses.replace(jar, version="0.0.0-none")
    with pytest.raises(JarError, match=r"cannot fetch .*: check the network"):
        fetch([absent], tmp_path)
