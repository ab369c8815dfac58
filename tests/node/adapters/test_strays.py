"""What an engine has forgotten: a container whose files were taken away while it was down, and commands in others."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.strays import GRACE, Strays, held_by_shims
from tests.node.adapters.daemons import Daemon, a_daemon

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        yield daemon


def started(client: Any) -> dict[str, Any]:
    made = client.create_container("busybox:latest", ["sleep", "600"], network_disabled=True)
    client.start(made)
    seen: dict[str, Any] = client.inspect_container(made)
    return seen


def command_in(client: Any, container: str) -> int:
    made = client.exec_create(container, ["sleep", "500"])
    client.exec_start(made, detach=True)
    return int(client.exec_inspect(made)["Pid"])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_the_engine_has_forgotten_is_ended_and_what_it_knows_goes_on(daemon: Daemon) -> None:
    client = docker.APIClient(daemon.address, version="auto")
    lost, known = started(client), started(client)
    forgotten = command_in(client, known["Id"])
    daemon.keep_containers(True)
    daemon.reload()
    daemon.end(signal.SIGKILL)
    shutil.rmtree(daemon.folder / "data/containers" / lost["Id"])
    daemon.start()
    command = command_in(client, known["Id"])
    engine = Engine(daemon.address)
    try:
        assert await Strays(engine).sweep(GRACE) == [], "they are young: the engine may be about to note them"
        ended = {stray.pid for stray in await Strays(engine).sweep(0)}
        assert ended == {lost["State"]["Pid"], forgotten}
        async with asyncio.timeout(5):
            while any(map(runs, ended)):
                await asyncio.sleep(0.02)
        assert runs(known["State"]["Pid"])
        assert runs(command)
        assert held_by_shims("/another/root", 0) == []
    finally:
        engine.close()
        client.close()
