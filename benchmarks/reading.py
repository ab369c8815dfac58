"""What looking costs: one job of 100,000 and a list of twenty, against a hello of the framework.

The hello is under the server as it comes, and beside that under the server of the nodes, which sends with fewer calls.
All take turns, each asked by 32 connections. A job is any of all, so that nothing of it is remembered.
"""

import asyncio
import statistics
from typing import Final

from benchmarks.children import nodes
from benchmarks.goals import Taken
from benchmarks.load import Load, loaded

SECONDS: Final = 2.0
ROUNDS: Final = 7


def measure() -> list[Taken]:
    """The medians over rounds of both ratios."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    kinds = ({"greets": "plainly"}, {"greets": "like a node"}, {"serves": True, "lives": False, "filled": True})
    async with nodes(*kinds) as (plain, alike, node):
        asked = ((plain, "hello"), (alike, "hello"), (node, "job"), (node, "jobs"))
        for child, what in asked:
            await loaded(child, what, 1.0)
        rounds = [[await loaded(child, what, SECONDS) for child, what in asked] for _ in range(ROUNDS)]
    hellos, others, jobs, lists = zip(*rounds, strict=True)
    return [_taken(ours, hello) for hello in (hellos, others) for ours in (jobs, lists)]


def _taken(ours: tuple[Load, ...], hellos: tuple[Load, ...]) -> Taken:
    ratios = [our.rate / hello.rate for our, hello in zip(ours, hellos, strict=True)]
    our, hello = (statistics.median(load.rate for load in loads) for loads in (ours, hellos))
    p99 = statistics.median(load.p99 for load in ours)
    remark = f"n={len(ours)} rounds, {min(ratios):.2f} to {max(ratios):.2f}; {our:,.0f}/s (p99 {p99:.0f} ms)"
    return Taken(statistics.median(ratios), f"{remark} and {hello:,.0f}/s")
