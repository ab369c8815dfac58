"""A client of an API over fakes."""

import sys
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.node.api.fakes import KEY, ROOT_KEY, World


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def recursion_limit() -> Iterator[None]:
    """As in a node: the EVM of other tests raises the limit so far that deep JSON would overflow the C stack."""
    raised = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(raised)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node", headers={"X-API-Key": KEY}) as client:
        yield client


@pytest.fixture
async def root(world: World, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """The operator."""
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node", headers={"X-API-Key": ROOT_KEY}) as root:
        yield root
