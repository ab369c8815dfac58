"""A provider's outfit opened while its engine is away: what belongs to a start is done when the engine is back."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import docker
import pytest

from market.signing import Signer
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.owners import SUFFIX, _request
from node.config import Config, ProviderSettings
from node.outfit import _is_taken_up, open_outfit, runtime_settings, sells_code
from tests.node.adapters.daemons import Daemon, a_daemon

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
SECRET = b"\1" * 32


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with a_daemon(tmp_path_factory.mktemp("engine") / "own") as daemon:
        yield daemon


def names(daemon: Daemon) -> list[str]:
    client = docker.APIClient(daemon.address, version="auto")
    found = [item["Names"][0].lstrip("/") for item in client.containers(all=True)]
    client.close()
    return sorted(found)


async def test_what_an_earlier_life_left_is_removed_as_soon_as_the_engine_is_back(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.address)
    config = Config(data_dir=str(tmp_path), roles=("provider",))
    node = runtime_settings(config, Signer(SECRET).address).node
    client = docker.APIClient(daemon.address, version="auto")
    client.create_container_from_config(_request(node, (), "0:0"), f"left{SUFFIX}")
    client.close()
    daemon.end(signal.SIGTERM)
    async with AsyncExitStack() as stack, asyncio.timeout(120):
        await open_outfit(stack, config, SECRET, SystemClock())
        await asyncio.to_thread(daemon.start)
        while names(daemon) != [f"neugrid-slot-{node}-{number}" for number in range(4)]:
            await asyncio.sleep(0.1)
    assert names(daemon) == []


async def test_what_nobody_expected_of_an_engine_keeps_no_node_from_its_start() -> None:
    class Odd:
        async def warm_up(self) -> None:
            raise IndexError("list index out of range")

    assert not await _is_taken_up(Odd(), Odd())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("languages", "isolation", "sells"),
    [(("python",), "hardened", True), ((), "hardened", False), (("python",), "gvisor", False)],
)
def test_code_runs_under_no_weaker_tier_than_is_sold(languages: tuple[str, ...], isolation: str, sells: bool) -> None:
    assert sells_code(ProviderSettings(languages=languages, isolation=isolation)) is sells  # type: ignore[arg-type]
