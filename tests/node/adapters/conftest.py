"""A runtime over the real engine; the engine's tests prove at their end that they leave nothing behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.adapters.runtime import DockerRuntime
from tests.node.adapters.engines import a_node, a_runtime, need_engine, nothing_left


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def engine() -> None:
    need_engine()


@pytest.fixture
async def runtime(engine: None, tmp_path: Path, anyio_backend: str) -> AsyncIterator[DockerRuntime]:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder):
        async with a_runtime(node, folder) as runtime:
            yield runtime
