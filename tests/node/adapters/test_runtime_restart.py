"""The node or the engine goes away in the middle: nothing is lost, started twice, or left behind."""

import asyncio
import signal
from pathlib import Path

import pytest

from market.errors import Unavailable
from market.units import Seconds
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.witness import started_at
from node.adapters.runtime import DockerRuntime
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import (
    MIB,
    a_container,
    a_node,
    a_runtime,
    are_let_go,
    every_line,
    loop_devices,
    nothing_left,
    texts,
)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


async def test_a_restarted_node_finds_its_containers_and_finishes_them(engine: None, tmp_path: Path) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    late = a_container("sleep", "60", timeout=Seconds(2))
    ended = a_container("sh", "-c", "seq 1 5; exit 7")
    with nothing_left(node, folder):
        async with a_runtime(node, folder) as before:
            await asyncio.gather(before.start(late), before.start(ended))
            await before.wait(ended.name)
            async with a_runtime(node, folder) as after:
                assert {container.name for container in await after.containers()} == {late.name, ended.name}
                assert await after.start(ended) == (await after.wait(ended.name)).started_at
                assert (await after.wait(ended.name)).code == 7
                assert texts(await every_line(after, ended.name, skip=2)) == ["3", "4", "5"]
                assert (await after.wait(late.name)).reason == "timeout"


async def test_a_deadline_that_passed_while_the_node_was_away_is_kept_at_once(engine: None, tmp_path: Path) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    spec = a_container("sleep", "60", timeout=Seconds(1))
    with nothing_left(node, folder):
        async with a_runtime(node, folder) as before:
            await before.start(spec)
            await asyncio.sleep(1.2)  # the node is away: nobody looks after the deadline
            async with a_runtime(node, folder) as after, asyncio.timeout(50):
                assert (await after.wait(spec.name)).reason == "timeout"


async def test_a_crash_between_volume_and_container_leaves_nothing(runtime: DockerRuntime, tmp_path: Path) -> None:
    spec = a_container("true", image="sha256:" + "0" * 64, has_outputs=True)
    await runtime._volumes.make(spec.name, 8 * MIB, "65532:65532")
    assert str(tmp_path) in loop_devices()
    await runtime.prepare()
    assert are_let_go(tmp_path)


async def test_a_container_that_was_created_and_never_started_is_started_now(runtime: DockerRuntime) -> None:
    spec = a_container("echo", "once")
    starter = runtime._starter
    await starter._create(spec, runtime._seccomp, "")
    assert not (await runtime.containers())[0].running
    await runtime.start(spec)
    assert (await runtime.wait(spec.name)).code == 0
    assert texts(await every_line(runtime, spec.name)) == ["once"]


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Daemon:  # type: ignore[misc]
    with a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        yield daemon


async def test_when_an_engine_began_is_seen_through_its_socket(daemon: Daemon) -> None:
    before = SystemClock().now()
    await asyncio.to_thread(daemon.end, signal.SIGKILL)
    assert started_at(daemon.address) == 0
    await asyncio.to_thread(daemon.start)
    assert before - 20 <= started_at(daemon.address) <= SystemClock().now(), "processes count in hundredths of a second"
    assert started_at("tcp://127.0.0.1:2375") == started_at("unix:///nowhere") == 0


async def test_an_engine_that_goes_away_is_never_the_jobs_failure(daemon: Daemon, tmp_path: Path) -> None:
    async with a_runtime(a_node(), tmp_path, address=daemon.address, slots=1) as runtime:
        await runtime.warm_up()
        for how in (signal.SIGTERM, signal.SIGKILL):
            spec = a_container("sh", "-c", "echo alive; exec sleep 60")
            await runtime.start(spec)
            waiting = asyncio.create_task(runtime.wait(spec.name))
            heard: list[str] = []
            logs = asyncio.create_task(_hear(runtime, spec.name, heard))
            async with asyncio.timeout(60):
                while not heard:  # what an engine that is killed has not taken yet is lost
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(daemon.end, how)
            await _refuses_work(runtime)
            assert not waiting.done()
            await asyncio.to_thread(daemon.start)
            async with asyncio.timeout(60):
                assert (await waiting).reason == "engine"
                await logs
                assert heard == ["alive"]
        after = a_container("sh", "-c", "exit 5")
        await runtime.start(after)
        assert (await runtime.wait(after.name)).code == 5


async def _hear(runtime: DockerRuntime, name: str, heard: list[str]) -> None:
    async for line in runtime.logs(name):
        heard.append(line.text)


async def _refuses_work(runtime: DockerRuntime) -> None:
    health = await runtime.health()
    assert not health.is_ok
    assert "does not answer" in health.reason
    with pytest.raises(Unavailable):
        await runtime.containers()
    with pytest.raises(Unavailable):
        await runtime.start(a_container("true"))
    with pytest.raises(Unavailable):
        await runtime.ensure_image("busybox:latest")
