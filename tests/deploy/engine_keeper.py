"""engine_keeper.py FOLDER DATA: runs a container engine until the end of its input, then leaves nothing of it behind.

The end of the input comes when the process that holds the other end is gone, whatever it died of. FOLDER holds the
socket and what lives as long as the engine, DATA its images.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

STOP_SECONDS = 60.0
EMPTY_SECONDS = 60.0
# Of an engine that has nothing but a test's in it; its interfaces and rules go with the networks.
EMPTY = """
docker ps --all --quiet | xargs --no-run-if-empty docker rm --force
docker volume ls --quiet | xargs --no-run-if-empty docker volume rm
docker network prune --force
docker images --quiet "market-maker:mm-test-*" | xargs --no-run-if-empty docker rmi --force
docker image prune --force
"""
BRIDGE = "docker0"
SIOCSIFFLAGS, SIOCBRDELBR = 0x8914, 0x89A1
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def keep(folder: Path, data: Path) -> int:
    """Run it; its exit status if it ends by itself."""
    had_bridge, forwarding, policy = _has_bridge(), FORWARDING.read_text(), _forward_policy()
    command = [
        "dockerd",
        "--host",
        f"unix://{folder}/docker.sock",
        "--data-root",
        str(data),
        "--exec-root",
        str(folder),
    ]
    command += ["--pidfile", str(folder / "docker.pid"), "--mtu", str(_mtu())]
    with (folder / "engine.log").open("w") as log:
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while engine.poll() is None and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    ended_itself = engine.poll()
    if ended_itself is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["sh", "-c", EMPTY], capture_output=True, timeout=EMPTY_SECONDS, check=False)
        engine.terminate()
        try:
            engine.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
    _end_strays(folder)
    _unmount(folder, data)
    if not had_bridge:
        _remove_rules()
        _remove_bridge()
        if policy:
            _iptables("-P", "FORWARD", policy)
        FORWARDING.write_text(forwarding)
    if ended_itself is None:
        shutil.rmtree(folder, ignore_errors=True)
    return ended_itself or 0


def _mtu() -> int:
    """That of the interface of the default route: packets of containers that are larger would be lost."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        interface, destination = line.split()[:2]
        if destination == "00000000":
            return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    return 1500


def _end_strays(folder: Path) -> None:
    """What an engine that was killed has left running: all of it names the folder on its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and f"{folder}/" in (process / "cmdline").read_text():
                os.kill(int(process.name), signal.SIGKILL)


def _unmount(*folders: Path) -> None:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(points):
        if any(point.startswith(f"{folder}/") for folder in folders):
            subprocess.run(["umount", "--lazy", point], check=False)


def _has_bridge() -> bool:
    return Path(f"/sys/class/net/{BRIDGE}").exists()


def _remove_bridge() -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", BRIDGE.encode(), 0))
        fcntl.ioctl(control, SIOCBRDELBR, struct.pack("16s24x", BRIDGE.encode()))


def _forward_policy() -> str | None:
    rules = _iptables("-S", "FORWARD").split()
    return rules[2] if rules[:2] == ["-P", "FORWARD"] else None


def _remove_rules() -> None:
    for table in ("filter", "nat"):
        rules = [line.split() for line in _iptables("-t", table, "-S").splitlines()]
        for rule in rules:
            if rule[0] == "-A" and any("DOCKER" in word or word == BRIDGE for word in rule):
                _iptables("-t", table, "-D", *rule[1:])
        for rule in rules:
            if rule[0] == "-N" and rule[1].startswith("DOCKER"):
                _iptables("-t", table, "-F", rule[1])
                _iptables("-t", table, "-X", rule[1])


def _iptables(*arguments: str) -> str:
    return subprocess.run(["iptables", "-w", *arguments], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(keep(Path(sys.argv[1]), Path(sys.argv[2])))
