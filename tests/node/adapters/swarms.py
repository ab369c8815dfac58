"""A swarm of a test's own: a manager and a worker, each an engine in its own network namespace, joined by a cable."""

import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from msgspec.structs import replace

from market.units import Timestamp
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.calls import name_of
from node.adapters.swarm_runtime import SwarmRuntime, SwarmSettings
from node.ports import ContainerSpec
from tests.node.adapters.daemons import Daemon, need_daemons
from tests.node.adapters.engines import there_are

HARD = ("--iptables=false", "--no-new-privileges")
"""What an operator sets on every machine; the other half, `--bridge=none`, is every test daemon's."""
MANAGER, WORKER = "10.77.0.1", "10.77.0.2"


class Swarm:
    """Two engines of one swarm, of which the worker alone is for sale."""

    def __init__(self, manager: Daemon, worker: Daemon, namespaces: tuple[str, ...]) -> None:
        self.manager, self.worker = manager, worker
        self.namespaces = namespaces
        self.clients = [docker.APIClient(daemon.address, version="auto") for daemon in (manager, worker)]

    @property
    def address(self) -> str:
        return self.manager.address

    def join(self) -> None:
        """Make the swarm, and give both the one image."""
        manager, worker = self.clients
        self.manager.load_busybox()
        with_image = b"".join(manager.get_image("busybox:latest"))
        worker.load_image(with_image)
        manager.init_swarm(advertise_addr=MANAGER, listen_addr=f"{MANAGER}:2377")
        token = manager.inspect_swarm()["JoinTokens"]["Worker"]
        worker.join_swarm([f"{MANAGER}:2377"], token, advertise_addr=WORKER, listen_addr=f"{WORKER}:2377")
        self.sell("worker")

    def sell(self, role: str, is_sold: bool = True, **labels: str) -> None:
        """Put the machine of that role up for sale, as an operator does with `docker node update`."""
        (raw,) = [item for item in self.machines() if item["Spec"]["Role"] == role]
        labels = {**labels, "neugrid.sells": "true"} if is_sold else labels
        self.clients[0].update_node(raw["ID"], raw["Version"]["Index"], {**raw["Spec"], "Labels": labels})

    def machines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.clients[0].nodes()
        return found

    def left(self, node: str) -> list[str]:
        """What there still is of `node`: services and networks of the swarm, containers of both engines."""
        labels = {"label": f"neugrid.node={node}"}
        found = [item["Spec"]["Name"] for item in self.clients[0].services(filters=labels)]
        found += [item["Name"] for item in self.clients[0].networks(filters=labels)]
        for client in self.clients:
            found += [name_of(item) or item["Id"] for item in there_are(client, filters=labels)]
        return found

    def close(self) -> None:
        for client in self.clients:
            client.close()


class OnSwarm(SwarmRuntime):
    """A swarm's runtime that takes the specs of any runtime's tests."""

    async def start(self, spec: ContainerSpec) -> Timestamp:
        return await super().start(replace(spec, isolation="swarm"))


@contextmanager
def a_swarm(folder: Path, *options: str) -> Iterator[Swarm]:
    """A swarm that is gone at the end, with its engines, namespaces and cable."""
    need_daemons()
    if shutil.which("nsenter") is None or shutil.which("ip") is None:
        pytest.skip("a swarm of the test's own needs ip and nsenter")
    with ExitStack() as stack:
        names = stack.enter_context(_namespaces())
        daemons = []
        for role, name in zip(("manager", "worker"), names, strict=True):
            (folder / role).mkdir(parents=True)
            daemon = Daemon(folder / role, *(options or HARD), namespace=f"/run/netns/{name}")
            stack.callback(daemon.clean)
            daemon.start()
            daemons.append(daemon)
        swarm = Swarm(*daemons, namespaces=tuple(f"/run/netns/{name}" for name in names))
        stack.callback(swarm.close)
        swarm.join()
        yield swarm


@asynccontextmanager
async def a_swarm_runtime(swarm: Swarm, node: str, **changes: Any) -> AsyncIterator[OnSwarm]:
    """A runtime that leaves nothing behind, on no machine."""
    runtime = OnSwarm(SwarmSettings(node=node, address=swarm.address, **changes), SystemClock())
    try:
        yield runtime
        for container in await runtime.containers():
            await runtime.remove(container.name)
    finally:
        await runtime.close()
    until(lambda: not swarm.left(node))


def until(is_true: Any, seconds: float = 60) -> None:
    """Wait for what only time brings; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@contextmanager
def _namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them."""
    mark = uuid.uuid4().hex[:6]
    names = (f"ngtest-{mark}-m", f"ngtest-{mark}-w")
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (MANAGER, WORKER), strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
