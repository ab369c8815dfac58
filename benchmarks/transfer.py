"""A large file from one node to another, in chunks over their direct streams, checked against its digest."""

import asyncio
from typing import Final

from benchmarks.children import meshed, nodes
from benchmarks.goals import Taken
from benchmarks.plans import Fetch, Share, Shared

SIZE: Final = 128 * 2**20


def measure() -> list[Taken]:
    """MB (10^6 bytes) a second."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with nodes({}, {}) as (owner, fetcher):
        await meshed([owner, fetcher], 1)
        shared = await owner.tell(Share(size=SIZE, address=fetcher.hello.address), Shared)
        fetched = await fetcher.tell(Fetch(peer=owner.hello.peer, file=shared.file), Shared, 300.0)
    return [Taken(SIZE / 1e6 / fetched.seconds, f"{SIZE >> 20} MiB in {fetched.seconds:.1f} s")]
