"""The real API over fakes: in the loop of an asynchronous test, and on a port of this machine for all others."""

import shutil
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from neugrid_sdk import AsyncClient, Client
from tests.node.api.fakes import KEY, ROOT_KEY, World
from tests.sdk.typescript import Built, build
from tests.served import served as served
from tests.served import url as url
from tests.served import world as world
from tests.shallow import recursion_limit as recursion_limit


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(KEY, url) as client:
        client._driver.sleep = lambda seconds: None
        yield client


@pytest.fixture
async def aclient(world: World, anyio_backend: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(KEY, "http://node", transport=httpx.ASGITransport(app=world.app)) as client:
        yield client


@pytest.fixture
async def operator(world: World, anyio_backend: str) -> AsyncIterator[AsyncClient]:
    """The one whose node it is."""
    transport = httpx.ASGITransport(app=world.app)
    async with AsyncClient(ROOT_KEY, "http://node", transport=transport) as client:
        yield client


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The TypeScript SDK, installed and compiled once in a folder of its own, which goes again."""
    folder = tmp_path_factory.mktemp("typescript")
    yield build(folder)
    shutil.rmtree(folder)
