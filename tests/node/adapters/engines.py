"""Real containers for tests: a runtime with its own label, specs in one line, and proof that nothing stays behind."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import NeugridError
from market.units import Bytes, Seconds
from node.adapters.base_images import ensure_base_images
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.profile import ImageFacts, user_of
from node.adapters.runtime import DockerRuntime, RuntimeSettings
from node.ports import ContainerSpec, Exit, LogLine
from tests.builders import resources

PYTHON = "python:3.11-slim"
MIB = 2**20
_numbers = count(1)


def need_engine() -> None:
    """Skip where no engine answers; otherwise the base images are there afterwards."""
    try:
        asyncio.run(ensure_base_images())
    except NeugridError as error:
        pytest.skip(f"no Docker engine: {error}")


def a_node() -> str:
    """A label that no other test and no real node has."""
    return f"test-{uuid.uuid4().hex[:8]}"


def a_container(*command: str, memory: int = 64 * MIB, disk: int = 8 * MIB, **changes: Any) -> ContainerSpec:
    """A container of busybox that may run for a minute."""
    number = next(_numbers)
    given = {"image": "busybox:latest", "env": {}, "timeout": Seconds(60)} | changes
    amount = resources(memory=Bytes(memory), disk=Bytes(disk))
    name = f"t{uuid.uuid4().hex[:8]}-{number}-a1"
    return ContainerSpec(name=name, lease=f"t{number}", command=command, resources=amount, **given)


def user_in(spec: ContainerSpec) -> str:
    """The number of the user that a container of one of the base images runs as."""
    return user_of(spec.name, ImageFacts(id="")).partition(":")[0]


def python(code: str, **changes: Any) -> ContainerSpec:
    """A container that runs `code`."""
    return a_container("python", "-c", code, image=PYTHON, **changes)


async def run(runtime: DockerRuntime, spec: ContainerSpec) -> tuple[Exit, list[LogLine]]:
    """Start `spec` and follow it to its end; the container stays for the test to look at."""
    await runtime.start(spec)
    lines = asyncio.create_task(every_line(runtime, spec.name))
    return await runtime.wait(spec.name), await lines


async def every_line(runtime: DockerRuntime, name: str, skip: int = 0) -> list[LogLine]:
    return [line async for line in runtime.logs(name, skip)]


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


@asynccontextmanager
async def a_runtime(node: str, folder: Path, **changes: Any) -> AsyncIterator[DockerRuntime]:
    """A runtime whose containers are removed at the end."""
    settings = {"slots": 0, "patience": 2.0} | changes
    runtime = DockerRuntime(RuntimeSettings(node=node, folder=folder, **settings), SystemClock())
    try:
        yield runtime
    finally:
        for container in await runtime.containers():
            await runtime.remove(container.name)
        await runtime.close()


@contextmanager
def nothing_left(node: str, folder: Path, address: str = "") -> Iterator[None]:
    """At the end there is no container, network, volume, loop device or image file of `node`."""
    yield
    client = docker.APIClient(address or None, version="auto")
    labels = {"label": f"neugrid.node={node}"}
    assert there_are(client, filters=labels) == []
    assert client.networks(filters=labels) == []
    assert not client.volumes(filters=labels)["Volumes"]
    client.close()
    assert are_let_go(folder)
    assert list(folder.glob("*")) == []


def there_are(client: Any, **asked: Any) -> list[dict[str, Any]]:
    """All containers that the engine lists and knows: one that was busy may go on listing what it has removed."""
    return [item for item in client.containers(all=True, **asked) if item["Names"] or _is_known(client, item["Id"])]


def _is_known(client: Any, container: str) -> bool:
    try:
        client.inspect_container(container)
    except docker.errors.NotFound:
        return False
    return True


def are_let_go(folder: Path) -> bool:
    """Whether no loop device is over a file in `folder` any more; the kernel keeps one while anybody looks at it."""
    deadline = time.monotonic() + 30
    while str(folder) in loop_devices() and time.monotonic() < deadline:
        time.sleep(0.05)
    return str(folder) not in loop_devices()


def loop_devices() -> str:
    """What every loop device is over; empty where there are none to be had."""
    if sys.platform != "linux":
        return ""
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=False).stdout
