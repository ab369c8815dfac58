"""Two hundred signed messages a second over five nodes, each of which sends forty of them."""

import asyncio
from typing import Final

from benchmarks.children import meshed, nodes
from benchmarks.goals import Taken, percentile
from benchmarks.offers import delays_ms, seen_by
from benchmarks.plans import Moments, Publish

NODES: Final = 5
RATE: Final = 200
SECONDS: Final = 10


def measure() -> list[Taken]:
    """p99 in ms over every (message, node), and how many of these never came."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    share = RATE // NODES
    async with nodes(*[{}] * NODES) as members:
        await meshed(members, NODES - 1)
        await asyncio.gather(*(one.tell(Publish(name="warm", count=share, rate=share), Moments) for one in members))
        orders = [Publish(name=f"node{number}", count=share * SECONDS, rate=share) for number in range(NODES)]
        sent = await asyncio.gather(*(one.tell(order, Moments) for one, order in zip(members, orders, strict=True)))
        seen = await seen_by(members, {id for moments in sent for id in moments.moments})
    delays = [
        delay for number, moments in enumerate(sent) for delay in delays_ms(moments, seen[:number] + seen[number + 1 :])
    ]
    lost = share * SECONDS * NODES * (NODES - 1) - len(delays)
    return [Taken(percentile(delays, 0.99), f"n={len(delays)}, p50 {percentile(delays, 0.5):.1f} ms"), Taken(lost)]
