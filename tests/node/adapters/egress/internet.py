"""An internet in a box: an engine in a namespace of its own, and behind it one machine that has every address.

    workload -- bridge -- the provider's host (the engine's namespace) -- everything else (one listener)

Nothing of it touches this machine's own routes, and all of it ends with the two processes that hold the namespaces.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import PYTHON

LISTENER = Path(__file__).with_name("listener.py")
PORTS = ("22", "25", "53", "80", "123", "443", "465", "587", "2375", "6443", "8545")
HOST = ("10.66.0.1", "51.15.0.7", "45.33.32.156")
"""The provider's addresses: in a private network, in a public one, and one of its own."""


class Internet:
    """`engine` is the provider's; `reached` is what everything else saw."""

    def __init__(self, engine: Daemon, folder: Path) -> None:
        self.engine = engine
        self.kernel = Path(f"/proc/{engine.pid}/net")
        self._folder = folder
        self._listeners: list[subprocess.Popen[bytes]] = []

    def connect(self) -> None:
        """Join the provider's host to everything else."""
        rest = self._listen("rest", "unshare", "--net")
        self._listen("host", "nsenter", f"--net=/proc/{self.engine.pid}/ns/net")
        _run("ip", "link", "add", "up0", "netns", str(self.engine.pid), "type", "veth", "peer", "up0", "netns", rest)
        self.on_host("ip", "link", "set", "lo", "up")
        for address in (f"{HOST[0]}/24", f"{HOST[1]}/24"):
            self.on_host("ip", "address", "add", address, "dev", "up0")
        self.on_host("ip", "address", "add", f"{HOST[2]}/32", "dev", "lo")
        self.on_host("ip", "link", "set", "up0", "up")
        self.on_host("ip", "route", "add", "default", "via", "10.66.0.2")
        for command in (
            "link set lo up",
            "address add 10.66.0.2/24 dev up0",
            "link set up0 up",
            f"route add {HOST[1]} dev up0",
            "route add local default dev lo",
        ):
            _run("nsenter", f"--net=/proc/{rest}/ns/net", "ip", *command.split())
        for name in ("all", "default", "up0"):  # a careless host in a careless world
            setting = f"net.ipv4.conf.{name}.accept_source_route=1"
            self.on_host("sysctl", "-qw", setting)
            _run("nsenter", f"--net=/proc/{rest}/ns/net", "sysctl", "-qw", setting)

    def on_host(self, *command: str) -> str:
        return _run("nsenter", f"--net=/proc/{self.engine.pid}/ns/net", *command)

    def client(self) -> Any:
        return docker.APIClient(self.engine.address, version="auto")

    def load(self, image: str) -> None:
        """Copy an image from the shared engine."""
        here, there = docker.APIClient(version="auto"), self.client()
        there.load_image(b"".join(here.get_image(image)))
        here.close()
        there.close()

    def reached(self, who: str = "rest") -> list[str]:
        """What the listener met so far, in order, after it has met all that was sent before."""
        self._until_written(who)
        lines = (self._folder / who).read_text().splitlines()
        return [line for line in lines if line != "ready"]

    def forget(self) -> None:
        for who in ("rest", "host"):
            self._until_written(who)
            os.truncate(self._folder / who, 0)

    def _until_written(self, who: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            own = self._folder / f"{who}.{uuid.uuid4().hex[:8]}"
            asking.bind(str(own))
            asking.settimeout(60)
            try:
                asking.sendto(b"?", str(self._folder / f"{who}.ask"))
                asking.recv(8)
            finally:
                own.unlink()

    def clean(self) -> None:
        for listener in self._listeners:
            listener.kill()
            listener.wait()

    def _listen(self, name: str, *where: str) -> str:
        command = [*where, sys.executable, "-I", str(LISTENER), name, str(self._folder / name), *PORTS]
        listener = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._listeners.append(listener)
        deadline = time.monotonic() + 60
        while not (self._folder / name).exists() or "ready" not in (self._folder / name).read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return str(listener.pid)


@contextmanager
def an_internet(folder: Path, runtimes: Mapping[str, Any] | None = None) -> Iterator[Internet]:
    """A running one, its engine with further `runtimes`; skips where the tests may not make one."""
    for tool in ("nft", "ip", "nsenter", "iptables"):
        if shutil.which(tool) is None:
            pytest.skip(f"an internet of the test's own needs {tool}")
    with a_daemon(folder / "engine", "--iptables=true", runtimes=runtimes) as engine:
        found = Internet(engine, folder)
        try:
            found.connect()
            found.load(PYTHON)
            yield found
        finally:
            found.clean()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
