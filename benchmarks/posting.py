"""What durability costs: `POST /v1/jobs` on SQLite with every commit synced, against the same route without storage.

The loops of the nodes do not run, so that nothing but the route is measured; rounds of the two alternate.
"""

import asyncio
import statistics
from typing import Final

from benchmarks.children import nodes
from benchmarks.goals import Taken
from benchmarks.load import loaded

SECONDS: Final = 2.0
ROUNDS: Final = 9


def measure() -> list[Taken]:
    """The medians over rounds of the ratio, the durable rate, and the time that 99 of 100 posts do not exceed."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    kinds = ({"serves": True, "lives": False}, {"serves": True, "lives": False, "stores": False})
    async with nodes(*kinds) as (durable, forgetful):
        for child in (durable, forgetful):
            await loaded(child, "post", 1.0)
        pairs = [[await loaded(child, "post", SECONDS) for child in (durable, forgetful)] for _ in range(ROUNDS)]
    ratios = [stored.rate / bare.rate for stored, bare in pairs]
    stored, bare = (statistics.median(load.rate for load in loads) for loads in zip(*pairs, strict=True))
    slowest = [load.p99 for load, _ in pairs]
    remark = f"n={ROUNDS} rounds, {min(ratios):.2f} to {max(ratios):.2f}; {stored:,.0f}/s and {bare:,.0f}/s"
    return [
        Taken(statistics.median(ratios), remark),
        Taken(stored),
        Taken(statistics.median(slowest), f"of a round, {min(slowest):.0f} to {max(slowest):.0f} ms"),
    ]
