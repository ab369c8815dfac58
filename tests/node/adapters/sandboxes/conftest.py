"""One set of sandboxes for all tests of a file: starting takes longer than any of them."""

import asyncio
from collections.abc import AsyncIterator

import docker
import pytest

from market.errors import ImageNotFound
from node.adapters.sandboxes.docker import DockerSandboxes, ensure_language_images
from node.adapters.sandboxes.settings import SandboxSettings
from tests.node.adapters.engines import a_node, there_are


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def images(engine: None) -> None:
    """Images of all languages; built once on a machine."""
    try:
        asyncio.run(ensure_language_images())
    except ImageNotFound as error:
        pytest.skip(f"no images for code: {error}")


@pytest.fixture(scope="module")
async def sandboxes(images: None, anyio_backend: str) -> AsyncIterator[DockerSandboxes]:
    node = a_node()
    sandboxes = DockerSandboxes(SandboxSettings(node=node, idle_memory=120, at_once=2, patience=30))
    try:
        yield sandboxes
    finally:
        await sandboxes.close()
        assert left_of(node) == []


def left_of(node: str) -> list[str]:
    """Names of the containers of `node` that there are."""
    client = docker.APIClient(version="auto")
    found = there_are(client, filters={"label": f"neugrid.node={node}"})
    client.close()
    return [item["Names"][0] if item["Names"] else item["Id"] for item in found]
