"""A client of an API over fakes."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.node.api.fakes import KEY, ROOT_KEY, World
from tests.shallow import recursion_limit as recursion_limit


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
