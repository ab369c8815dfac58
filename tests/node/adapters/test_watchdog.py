"""The watchdog on the real engine: what runs past its time goes, whatever became of the node that started it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from market.errors import Unavailable
from market.units import Timestamp
from node.adapters.clock import SystemClock
from node.adapters.docker_engine import watchdog
from node.adapters.docker_engine.calls import DEFAULT_ADDRESS
from node.adapters.docker_engine.guard import Guard
from node.adapters.docker_engine.watchdog import SILENCE, Watchdog
from node.adapters.runtime import DockerRuntime
from node.ports import ContainerSpec
from tests.node.adapters.engines import a_container

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
SOCKET = DEFAULT_ADDRESS.removeprefix("unix://")
NODE = """
import asyncio, sys
from pathlib import Path
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.guard import Guard

async def main(address, node, folder, *names):
    clock = SystemClock()
    guard = Guard(address, node, Path(folder), clock)
    await guard.guard({name: clock.now() + int(ms) for name, ms in zip(names[::2], names[1::2])})
    print("told", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""
"""As much of a node as dies: it tells its watchdog the deadlines, once."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A watchdog's folder; whoever watches over it is ended afterwards."""
    folder = tmp_path / "watchdog"
    folder.mkdir()
    yield folder
    for pid in watchdogs(folder):
        os.kill(pid, signal.SIGKILL)


def watchdogs(folder: Path) -> list[int]:
    """The processes that watch over `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if str(watchdog.__file__) in words and str(folder) in words:
                found.append(int(process.name))
    return found


def node_of(runtime: DockerRuntime) -> str:
    return runtime._settings.node


async def running(runtime: DockerRuntime) -> set[str]:
    return {container.name for container in await runtime.containers() if container.running}


async def started(runtime: DockerRuntime, count: int = 2) -> list[ContainerSpec]:
    specs = [a_container("sleep", "60") for _ in range(count)]
    await asyncio.gather(*map(runtime.start, specs))
    return specs


async def is_guarded(folder: Path) -> bool:
    try:
        with watchdog.only_one(str(folder)):
            return False
    except BlockingIOError:
        return True


async def has_noted(folder: Path, name: str) -> bool:
    log = folder / "watchdog.log"
    return log.exists() and name in log.read_text()


async def until(check: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not await check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_killed_nodes_container_ends_at_its_deadline_and_one_with_time_left_goes_on(
    runtime: DockerRuntime, folder: Path
) -> None:
    short, long = await started(runtime)
    command = [sys.executable, "-c", NODE, DEFAULT_ADDRESS, node_of(runtime), str(folder)]
    life = subprocess.Popen([*command, short.name, "1500", long.name, "60000"], stdout=subprocess.PIPE)
    assert life.stdout is not None
    assert b"told\n" in iter(life.stdout.readline, b"")
    life.kill()
    life.communicate()
    await until(lambda: is_guarded(folder))
    assert len(watchdogs(folder)) == 1, "it outlives its node"

    async def short_is_gone() -> bool:
        return await running(runtime) == {long.name}

    await until(short_is_gone)
    await until(lambda: has_noted(folder, short.name))
    assert short.name not in {container.name for container in await runtime.containers()}, "and is removed"


async def test_the_next_life_of_a_node_takes_its_watchdog_over_and_extends(
    runtime: DockerRuntime, folder: Path
) -> None:
    (spec,) = await started(runtime, 1)
    clock = SystemClock()
    await Guard(DEFAULT_ADDRESS, node_of(runtime), folder, clock).guard({spec.name: Timestamp(clock.now() + 3000)})
    await until(lambda: is_guarded(folder))
    (before,) = watchdogs(folder)
    second = Guard(DEFAULT_ADDRESS, node_of(runtime), folder, clock)
    await second.guard({spec.name: Timestamp(clock.now() + 60_000)})
    assert watchdogs(folder) == [before]
    await asyncio.sleep(4)  # the first deadline is over by now
    assert await running(runtime) == {spec.name}


async def test_a_watchdog_that_was_killed_is_started_again(folder: Path) -> None:
    guard = Guard(DEFAULT_ADDRESS, "nobody", folder, SystemClock())
    await guard.guard({})
    await until(lambda: is_guarded(folder))
    (first,) = watchdogs(folder)
    os.kill(first, signal.SIGKILL)

    async def is_gone() -> bool:
        return not guard._process or guard._process.poll() is not None

    await until(is_gone)
    guard._beat -= 5_000
    await guard.guard({})
    await until(lambda: is_guarded(folder))
    assert watchdogs(folder) != [first]
    assert len(watchdogs(folder)) == 1


async def test_a_node_that_leaves_in_peace_leaves_no_watchdog_over_nothing(folder: Path) -> None:
    guard = Guard(DEFAULT_ADDRESS, "nobody", folder, SystemClock())
    await guard.guard({})
    await until(lambda: is_guarded(folder))
    await guard.leave()
    assert guard._process is not None
    assert await asyncio.to_thread(guard._process.wait, 60) == 0


def told(folder: Path, deadlines: dict[str, int], **changes: object) -> None:
    (folder / "new").write_text(json.dumps({**watchdog.words(deadlines), **changes}))
    (folder / "new").replace(folder / "deadlines.json")


async def test_a_container_that_nobody_named_lives_as_long_as_its_node(runtime: DockerRuntime, folder: Path) -> None:
    (spec,) = await started(runtime, 1)
    dog = Watchdog(SOCKET, node_of(runtime), str(folder))
    told(folder, {})
    assert not dog.tick()
    assert await running(runtime) == {spec.name}
    told(folder, {}, beat=watchdog.now() - SILENCE - 1)
    dog._looked = 0
    assert dog.tick(), "the node is gone, and so is all that ran"
    assert await running(runtime) == set()


async def test_words_of_another_life_of_the_machine_end_nothing(runtime: DockerRuntime, folder: Path) -> None:
    (spec,) = await started(runtime, 1)
    dog = Watchdog(SOCKET, node_of(runtime), str(folder))
    told(folder, {spec.name: 1}, boot="another", beat=0)
    assert not dog.tick()
    assert await running(runtime) == {spec.name}


async def test_what_ended_by_itself_is_left_to_the_node_which_may_owe_its_results(
    runtime: DockerRuntime, folder: Path
) -> None:
    spec = a_container("true")
    await runtime.start(spec)
    await runtime.wait(spec.name)
    told(folder, {spec.name: 1}, leaving=True)
    assert Watchdog(SOCKET, node_of(runtime), str(folder)).tick()
    assert [container.name for container in await runtime.containers()] == [spec.name]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 7}', "null"])
def test_words_that_make_no_sense_change_nothing(folder: Path, text: str) -> None:
    dog = Watchdog(SOCKET, "nobody", str(folder))
    told(folder, {"kept": watchdog.now() + 60_000})
    dog.tick()
    (folder / "deadlines.json").write_text(text)
    with suppress(ValueError, LookupError, TypeError):
        dog.tick()
    assert set(dog._deadlines) == {"kept"}


def test_an_engine_that_is_away_is_asked_again_and_nothing_is_forgotten(folder: Path) -> None:
    dog = Watchdog(str(folder / "none.sock"), "nobody", str(folder))
    told(folder, {"overdue": 1})
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            dog.tick()
    assert set(dog._deadlines) == {"overdue"}


def test_a_node_and_an_engine_that_are_both_gone_for_good_need_no_watchdog(folder: Path) -> None:
    dog = Watchdog(str(folder / "none.sock"), "nobody", str(folder))
    told(folder, {}, leaving=True)
    with pytest.raises(OSError, match="No such file"):
        dog.tick()
    dog._looked, dog._answered = 0, dog._answered - watchdog.HOPELESS - 1
    assert dog.tick(), "the engine has been silent for an hour"
    other = Watchdog(str(folder / "none.sock"), "nobody", str(folder / "gone"))
    assert other.tick(), "there is neither a folder nor a socket"


def test_an_older_watchdog_gives_way(folder: Path) -> None:
    dog = Watchdog(SOCKET, "nobody", str(folder))
    told(folder, {}, protocol=watchdog.PROTOCOL + 1)
    dog.run()
    assert dog._protocol != watchdog.PROTOCOL


async def test_deadlines_that_can_not_be_written_are_told_to_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        await Guard(DEFAULT_ADDRESS, "nobody", tmp_path / "file", SystemClock()).guard({})


async def test_an_engine_elsewhere_has_no_watchdog(folder: Path) -> None:
    await Guard("tcp://127.0.0.1:9", "nobody", folder, SystemClock()).guard({"a": Timestamp(1)})
    assert list(folder.iterdir()) == []
