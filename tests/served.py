"""An application of the API on a free port of this machine, for tests that do not run in its loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from node.api.edge import Edge
from node.api.limits import Limiter
from node.api.server import serve
from tests.node.api.fakes import World

T = TypeVar("T")
WITHIN = 60
"""Seconds until what the other thread does is taken for something that never ends."""


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
        assert self._is_bound.wait(WITHIN)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(WITHIN)
        assert not self._thread.is_alive()

    def call(self, what: Coroutine[Any, Any, T]) -> T:
        """What comes of it in the loop that serves."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(WITHIN)

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
    """Where the world of this test is served, without limits."""
    served.app.app.state.services = world.services
    served.app.app.state.limiter = Limiter({})
    return served.url
