"""The nodes that are measured are whole nodes: what the program gained, they have too."""

import asyncio

import pytest

from benchmarks.children import nodes
from benchmarks.web import Line

pytestmark = pytest.mark.p2p


def test_a_node_of_the_benchmarks_starts_and_answers() -> None:
    async def play() -> str:
        async with nodes({"serves": True, "sells": True}) as (node,):
            line = await Line.open(node.hello.url, node.hello.key)
            version = await line.get("/v1/version")
            await line.close()
        return str(version["api"])

    assert asyncio.run(play()) == "v1"
