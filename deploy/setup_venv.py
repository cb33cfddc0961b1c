"""Makes .venv from the hashed locks; run by ./mm with any Python from 3.11, standard library only."""

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "deploy" / "locks"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DOWNLOAD = {"core": "about 250 MB", "test": "about 90 MB"}


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def set_up(groups: list[str]) -> None:
    """Bring .venv to the state of the locks of `groups` ("core", with or without "test").

    A stamp, the copy of a lock, is written last and removed first: a .venv without one was interrupted and is
    made anew. Of several processes one works and the others wait.

    Raises SetupError.
    """
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all(is_installed(group) for group in groups):
            return
        if not (stamp("core").exists() and PYTHON.exists()):
            make_venv()
        installed_before = [group for group in ("core", "test") if stamp(group).exists()]
        install(sorted({*groups, *installed_before}))


def is_installed(group: str) -> bool:
    """Whether .venv holds what the lock of `group` names."""
    same = stamp(group).exists() and stamp(group).read_bytes() == lock_of(group).read_bytes()
    return same and PYTHON.exists()


def lock_of(group: str) -> Path:
    """The hashed list of exact versions of `group`."""
    return LOCKS / f"{group}.txt"


def stamp(group: str) -> Path:
    """Where the copy of the lock that `group` was installed from is kept."""
    return VENV / f"{group}.txt"


def make_venv() -> None:
    """Make .venv anew, with uv in it.

    Raises SetupError where this Python cannot make virtual environments, or uv cannot be fetched.
    """
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(f"this Python cannot make virtual environments; run: {venv_remedy()}") from None
    say(f"setting up {VENV} with Python {sys.version.split()[0]} (once)")
    venv.create(VENV, clear=True, with_pip=True, symlinks=True)
    pip = (str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps")
    run([*pip, "--require-hashes", "-r", str(lock_of("setup"))])
    site_packages = next((VENV / "lib").glob("python3.*/site-packages"))
    # relative to site-packages, so that the repository can be moved
    (site_packages / "market_maker.pth").write_text("../../../..\n")


def venv_remedy() -> str:
    """The command that gives this machine's Python the venv module."""
    if shutil.which("apt-get"):
        return f"sudo apt-get install python3.{sys.version_info.minor}-venv"
    if shutil.which("dnf"):
        return "sudo dnf install python3 python3-pip"
    if shutil.which("brew"):
        return "brew install python@3.13"
    return "your system's package manager to install the full python3 (with venv and ensurepip)"


def install(groups: list[str]) -> None:
    """Install the locks of `groups` into .venv and remove from it what they do not name.

    Raises SetupError.
    """
    for group in ("core", "test"):
        stamp(group).unlink(missing_ok=True)
    size = " and ".join(f"{DOWNLOAD[group]} for {group}" for group in groups)
    say(f"installing packages ({size}, less what is in the cache)")
    locks = [str(lock_of(group)) for group in ("setup", *groups)]
    options = ["--python", str(PYTHON), "--require-hashes", "--compile-bytecode"]
    run([str(PYTHON), "-m", "uv", "pip", "sync", *options, *locks])
    for group in groups:
        shutil.copyfile(lock_of(group), stamp(group))
    say("set up")


def run(command: list[str]) -> None:
    """Run a command of pip or uv, passing on its lines about downloads.

    Raises SetupError with the last thing it said when it fails.
    """
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.strip()
            if text.startswith(("Downloading", "Building", "Prepared", "Installed")):
                say(f"  {text}")
            elif text:
                said.append(text)
    if process.returncode:
        cause = next((line for line in reversed(said) if not line.startswith("hint")), "no reason given")
        raise SetupError(f"packages were not installed ({cause}); check the network and run this again")


def say(text: str) -> None:
    """Tell the user on stderr, so that a command's own output stays clean."""
    print(f"mm: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        set_up(sys.argv[1:])
    except (SetupError, OSError) as error:
        say(f"set-up failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("set-up interrupted; the next call does it again")
        sys.exit(130)
