"""Containers that live on without their engine: it miscounts their mounts, and their disks go all the same."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import Unavailable
from market.workloads import Volume
from node.adapters.docker_engine.mount_counts import MountCounts
from node.adapters.docker_engine.volumes import has_loop_devices
from node.adapters.runtime import DockerRuntime
from node.ports import ContainerSpec
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import MIB, a_container, a_node, a_runtime, are_let_go, nothing_left

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.docker,
    pytest.mark.skipif(not has_loop_devices(), reason="no loop devices without root"),
]


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        daemon.keep_containers(True)
        daemon.reload()
        yield daemon


@contextmanager
def a_client(daemon: Daemon) -> Iterator[Any]:
    client = docker.APIClient(daemon.address, version="auto")
    try:
        yield client
    finally:
        client.close()


def sleeper() -> ContainerSpec:
    """With a disk of its own and one that outlives it."""
    kept = Volume(name="data", path="/data", size=8 * MIB)
    return a_container("sleep", "600", has_outputs=True, volumes=(kept,), owner="somebody")


def counts_of(runtime: DockerRuntime) -> MountCounts:
    return runtime._kept._counts


def kill_and_start(daemon: Daemon) -> None:
    daemon.end(signal.SIGKILL)
    daemon.start()


async def test_what_lived_through_a_restart_of_the_engine_takes_its_volumes_along(
    daemon: Daemon, tmp_path: Path
) -> None:
    node, folder, spec = a_node(), tmp_path / "volumes", sleeper()
    async with a_runtime(node, folder, address=daemon.address) as runtime:
        await runtime.start(spec)
        for _ in range(2):
            kill_and_start(daemon)
        await counts_of(runtime).settle()
        await counts_of(runtime).settle()
        await runtime.remove(spec.name)
        with a_client(daemon) as client:
            assert not client.volumes()["Volumes"]
        assert are_let_go(folder)


async def test_the_disk_goes_before_the_engine_lets_go_of_its_record(daemon: Daemon, tmp_path: Path) -> None:
    node, folder, spec = a_node(), tmp_path / "volumes", sleeper()
    with nothing_left(node, folder, daemon.address):
        async with a_runtime(node, folder, address=daemon.address) as runtime:
            await runtime.start(spec)
            kill_and_start(daemon)
            with a_client(daemon) as client:
                client.remove_container(spec.name, force=True)
            await runtime.remove(spec.name)
            with a_client(daemon) as client:
                stuck = {volume["Name"] for volume in client.volumes()["Volumes"]}
            if not stuck:
                pytest.skip("this engine counts rightly")
            assert stuck == {spec.name, runtime._kept.id_of("somebody", "data")}
            assert are_let_go(folder)
            assert not list(folder.glob("*.img"))
            with pytest.raises(Unavailable, match="to be started again"):
                await counts_of(runtime).create(spec.name, "/dev/loop999", {})
            kill_and_start(daemon)
            await counts_of(runtime).settle()
            await runtime.drop_kept_volumes(2**53)
            (folder / "kept").rmdir()
