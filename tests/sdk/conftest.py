"""The real API over fakes: in the loop of an asynchronous test, and on a port of this machine for all others."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from neugrid_sdk import AsyncClient, Client
from node.api.edge import Edge
from node.api.limits import Limiter
from node.api.server import serve
from tests.node.api.fakes import KEY, ROOT_KEY, World
from tests.sdk.typescript import Built, build


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Served:
    """The API in a thread of its own; `services` of its application may be changed between tests."""

    def __init__(self, app: Edge) -> None:
        self.app = app
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._is_bound = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        assert self._is_bound.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._task = self._loop.create_task(serve(self.app, "127.0.0.1", 0, self._bound))
        self._loop.run_until_complete(asyncio.wait([self._task]))
        self._loop.close()

    def _bound(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._is_bound.set()


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    served = Served(World(port=0).app)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def url(served: Served, world: World) -> str:
    """Where the world of this test is served."""
    served.app.app.state.services = world.services
    served.app.app.state.limiter = Limiter({})
    return served.url


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
