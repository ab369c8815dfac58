"""How fast, and how completely, a provider's offers become visible in the books of ten other nodes."""

import asyncio
import time
from typing import Final

from benchmarks.children import Child, meshed, nodes
from benchmarks.goals import Taken, percentile
from benchmarks.plans import Moments, Publish, Report

PEERS: Final = 10
SINGLE: Final = 100
RATE: Final = 10.0
MANY: Final = 1000
PATIENCE: Final = 30.0


def measure() -> list[Taken]:
    """p99 in ms over every (offer, peer), and how many of 1,000 offers every peer holds in the end."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with nodes(*[{}] * (PEERS + 1)) as (publisher, *peers):
        await meshed([publisher, *peers], 4)
        await publisher.tell(Publish(name="warm", count=20, rate=RATE), Moments)
        sent = await publisher.tell(Publish(name="new", count=SINGLE, rate=RATE), Moments)
        seen = await seen_by(peers, set(sent.moments))
        delays = delays_ms(sent, seen)
        begun = time.monotonic()
        burst = await publisher.tell(Publish(name="many", count=MANY), Moments)
        held = await seen_by(peers, set(burst.moments))
        took = time.monotonic() - begun
    lost = SINGLE * PEERS - len(delays)
    fewest = min(len(moments.keys() & burst.moments.keys()) for moments in held)
    remark = f"n={len(delays)}, p50 {percentile(delays, 0.5):.0f} ms, {lost} lost"
    return [Taken(percentile(delays, 0.99), remark), Taken(fewest, f"within {took:.1f} s of publishing")]


async def seen_by(peers: list[Child], wanted: set[str]) -> list[dict[str, int]]:
    """What every peer saw, once all hold everything that is wanted or patience is at its end."""
    end = time.monotonic() + PATIENCE
    while True:
        reports = await asyncio.gather(*(peer.tell(Report(), Moments) for peer in peers))
        seen = [report.moments for report in reports]
        if all(wanted <= moments.keys() for moments in seen) or time.monotonic() > end:
            return seen
        await asyncio.sleep(0.2)


def delays_ms(sent: Moments, seen: list[dict[str, int]]) -> list[float]:
    """Milliseconds from the sending of each message to each peer that has it."""
    return [(moments[id] - begun) / 1e6 for id, begun in sent.moments.items() for moments in seen if id in moments]
