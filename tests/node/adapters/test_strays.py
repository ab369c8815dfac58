"""What an engine has forgotten: a container whose files were taken away while it was down, and commands in others."""

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import NotFound
from node.adapters.docker_engine.calls import Engine, name_of
from node.adapters.docker_engine.strays import Strays, held_by_shims, remove_nameless
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import a_container, a_node, a_runtime, run

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
        assert await Strays(engine).sweep(3600) == [], "they are young: the engine may be about to note them"
        ended = {stray.pid for stray in await Strays(engine).sweep(0)}
        assert ended == {lost["State"]["Pid"], forgotten}
        async with asyncio.timeout(60):
            while any(map(runs, ended)):
                await asyncio.sleep(0.02)
        assert runs(known["State"]["Pid"])
        assert runs(command)
        assert held_by_shims("/another/root", 0) == []
    finally:
        engine.close()
        client.close()


class Lister:
    """An engine that lists containers, of which one is gone already."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.listed = listed
        self.removed: list[str] = []

    async def call(self, verb: Callable[[Any], Any]) -> Any:
        return verb(self)

    def containers(self, **_: object) -> list[dict[str, Any]]:
        return list(self.listed)

    def remove_container(self, id: str, **_: object) -> None:
        if id == "shadow":
            raise NotFound("no such container")
        self.removed.append(id)


async def test_what_has_no_name_is_removed_and_what_is_a_shadow_is_passed() -> None:
    engine = Lister({"Id": "shadow", "Names": []}, {"Id": "left", "Names": []}, {"Id": "named", "Names": ["/one"]})
    await remove_nameless(engine, "node")  # type: ignore[arg-type]
    assert engine.removed == ["left"]
    assert list(map(name_of, engine.listed)) == ["", "", "one"]


async def test_a_shadow_in_the_list_hinders_no_runtime(
    engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, folder = a_node(), tmp_path / "volumes"
    listed = docker.APIClient.containers

    def haunted(client: Any, *asked: Any, **filters: Any) -> Any:
        shadow = {"Id": "0" * 64, "Names": [], "State": "running", "Mounts": [], "Created": 0, "ImageID": ""}
        return [
            {**shadow, "Labels": {"neugrid.node": node, "neugrid.slot": "idle"}},
            *listed(client, *asked, **filters),
        ]

    monkeypatch.setattr(docker.APIClient, "containers", haunted)
    with nothing_left_but_shadows(node):
        async with a_runtime(node, folder, slots=1) as runtime:
            await runtime.warm_up()
            end, _ = await run(runtime, a_container("true", has_outputs=True))
            assert end.code == 0
            assert len(await runtime.containers()) == 1


@contextmanager
def nothing_left_but_shadows(node: str) -> Iterator[None]:
    yield
    client = docker.APIClient(version="auto")
    assert not [
        item for item in client.containers(all=True, filters={"label": f"neugrid.node={node}"}) if name_of(item)
    ]
    client.close()
