"""The broker of a chaos run: its own folder (on a small file system where one can be had), one way in for each role."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agents.chaos.proxy import HOST, Proxy, Trouble
from agents.processes.fleet import ROLES
from agents.stream.config import KafkaConfig
from deploy.broker import Broker
from deploy.ports import free_port

_END_SECONDS = 20.0
_DISK_BYTES = 3 << 30
_FILL_BYTES = 1 << 20
_FULL_SECONDS = 12.0


class Arena:
    """A broker behind one proxy for each role, and directly reachable for feed and auditor. For a `with` block.

    note: told when the broker is up again.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._note = note
        self.disk = _Disk(folder / "broker")
        self._lock = threading.Lock()
        direct, controller = free_port(), free_port()
        inside = {role: free_port() for role in ROLES}
        self.proxies = {role: Proxy(free_port(), inside[role]) for role in ROLES}
        names = {role: role.upper() for role in ROLES}
        listeners = [f"PLAINTEXT://{HOST}:{direct}", *(f"{names[r]}://{HOST}:{inside[r]}" for r in ROLES)]
        seen = [f"PLAINTEXT://{HOST}:{direct}", *(f"{names[r]}://{HOST}:{self.proxies[r].port}" for r in ROLES)]
        kinds = ["PLAINTEXT", *names.values(), "CONTROLLER"]
        self._broker = Broker(
            folder / "broker",
            port=direct,
            properties={
                "listeners": ",".join([*listeners, f"CONTROLLER://{HOST}:{controller}"]),
                "advertised.listeners": ",".join(seen),
                "listener.security.protocol.map": ",".join(f"{kind}:PLAINTEXT" for kind in kinds),
                "inter.broker.listener.name": "PLAINTEXT",
                "controller.quorum.voters": f"1@{HOST}:{controller}",
            },
        )

    def __enter__(self) -> Arena:
        self.disk.mount()
        try:
            for proxy in self.proxies.values():
                proxy.start()
            self._broker.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self._broker.stop()
        for proxy in self.proxies.values():
            proxy.stop()
        self.disk.unmount()

    def direct(self, prefix: str) -> KafkaConfig:
        """How feed and auditor reach the broker."""
        return KafkaConfig(self._broker.bootstrap, prefix)

    def through_proxy(self, role: str) -> str:
        """The address that agents of a role are given."""
        return f"{HOST}:{self.proxies[role].port}"

    # -- faults --------------------------------------------------------------------------------------------------

    def kill_broker(self, down_seconds: float) -> None:
        """SIGKILL; start it again after a while; returns when it serves."""
        with self._lock:
            self._signal(signal.SIGKILL)
            time.sleep(down_seconds)
            self._restart()

    def pause_broker(self, seconds: float) -> None:
        """SIGSTOP, then SIGCONT."""
        with self._lock:
            self._signal(signal.SIGSTOP)
            time.sleep(seconds)
            self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """Leave the broker no room until it has ended or some seconds have passed; then make room and restart it."""
        with self._lock:
            self.disk.fill()
            deadline = time.monotonic() + _FULL_SECONDS
            while self._broker.status() is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            ended = self._broker.status() is None
            self.disk.empty()
            self._note(f"the disk was full; the broker {'ended' if ended else 'lives'}")
            if not ended:
                self._signal(signal.SIGKILL)
            self._restart()

    def trouble(self, role: str | None, trouble: Trouble) -> None:
        """Begin a network fault for one role, or for all."""
        for proxy in self._of(role):
            proxy.begin(trouble)

    def heal(self, role: str | None) -> None:
        """End the network fault of a role, or all."""
        for proxy in self._of(role):
            proxy.heal()

    def _of(self, role: str | None) -> list[Proxy]:
        return list(self.proxies.values()) if role is None else [self.proxies[role]]

    def _signal(self, number: int) -> None:
        running = self._broker.status()
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, number)

    def _restart(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        while self._broker.status() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        began = time.monotonic()
        self._broker.start()
        self._note(f"broker up again after {time.monotonic() - began:.1f} s")


class _Disk:
    """A folder on a file system of its own in memory, where this process may mount one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"
        self.why_not: str | None = "not mounted"

    def mount(self) -> None:
        """Mount it; `why_not` says why the disk cannot be filled up, None where it can."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(self._folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            self.why_not = None
        except FileNotFoundError:
            self.why_not = "there is no mount command"
        except subprocess.CalledProcessError as error:
            self.why_not = f"a small file system needs root: {error.stderr.strip()}"

    def unmount(self) -> None:
        """Unmount it."""
        if self.why_not is None:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True, capture_output=True)
            self.why_not = "not mounted"

    def fill(self) -> None:
        """Use up what is free."""
        piece = bytes(_FILL_BYTES)
        with self._filler.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(piece):
                pass

    def empty(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)
