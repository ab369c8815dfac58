"""A container that its engine has forgotten: made so by taking its files away from under an engine that is down."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.strays import GRACE, Strays, end_strays
from tests.node.adapters.daemons import Daemon, a_daemon

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        yield daemon


def started(daemon: Daemon, *command: str) -> dict[str, Any]:
    client = docker.APIClient(daemon.address, version="auto")
    made = client.create_container("busybox:latest", list(command), network_disabled=True)
    client.start(made)
    seen: dict[str, Any] = client.inspect_container(made)
    client.close()
    return seen


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_the_engine_has_forgotten_is_ended_and_what_it_knows_goes_on(daemon: Daemon) -> None:
    lost, known = started(daemon, "sleep", "600"), started(daemon, "sleep", "600")
    daemon.keep_containers(True)
    daemon.reload()
    daemon.end(signal.SIGKILL)
    shutil.rmtree(daemon.folder / "data/containers" / lost["Id"])
    daemon.start()
    engine = Engine(daemon.address)
    try:
        assert await Strays(engine).sweep(GRACE) == [], "it is young: the engine may be about to note it"
        assert end_strays("/another/root", (), 0) == [], "these are not the engine's with that root"
        assert runs(lost["State"]["Pid"])
        assert [stray.container for stray in await Strays(engine).sweep(0)] == [lost["Id"]]
        async with asyncio.timeout(5):
            while runs(lost["State"]["Pid"]):
                await asyncio.sleep(0.02)
        assert runs(known["State"]["Pid"])
    finally:
        engine.close()
