"""What durability costs: `POST /v1/jobs` on SQLite with every commit synced, against the same route without storage.

The loops of the nodes do not run, so that nothing but the route is measured; rounds of the two alternate.
"""

import asyncio
import statistics
import sys
from typing import Final

from benchmarks.children import Child, nodes
from benchmarks.goals import Taken

CLIENTS: Final = 32
SECONDS: Final = 2.0
ROUNDS: Final = 9


def measure() -> list[Taken]:
    """The median over rounds of the ratio, and of the durable rate."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    kinds = ({"serves": True, "lives": False}, {"serves": True, "lives": False, "stores": False})
    async with nodes(*kinds) as (durable, forgetful):
        for child in (durable, forgetful):
            await rate(child, 1.0)
        pairs = [(await rate(durable, SECONDS), await rate(forgetful, SECONDS)) for _ in range(ROUNDS)]
    ratios = [stored / bare for stored, bare in pairs]
    stored, bare = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    remark = f"n={ROUNDS} rounds, {min(ratios):.2f} to {max(ratios):.2f}; {stored:,.0f}/s and {bare:,.0f}/s"
    return [Taken(statistics.median(ratios), remark), Taken(stored)]


async def rate(child: Child, seconds: float) -> float:
    """Posts a second, sent by a process of their own."""
    arguments = (child.hello.url, child.hello.key, str(CLIENTS), str(seconds))
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await load.communicate()
    if load.returncode:
        raise RuntimeError("the load ended with an error; its words are on standard error")
    return float(said)
