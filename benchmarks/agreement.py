"""From a demand to the agreement on it, between a requester and providers in processes of their own."""

import asyncio
import time
from typing import Any, Final

import msgspec

from benchmarks.children import Child, meshed, nodes
from benchmarks.goals import Taken, percentile
from benchmarks.web import Line

SEQUENTIAL: Final = 100
CLIENTS: Final = 10
SECONDS: Final = 8.0
WARM_UP: Final = 20
POLL: Final = 0.04
"""Seconds between two looks at a job: one must look, and each look costs the node half a millisecond."""
BODY: Final = msgspec.json.encode(
    {
        "image": "busybox",
        "command": ["true"],
        "resources": {"cpu": 0.1, "memory": "16Mi"},
        "maxPrice": "10",
        "timeout": "10m",
        "orderTtl": "2m",
    }
)


def measure() -> list[Taken]:
    """The median in ms, and agreements a second with ten clients."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with nodes({"serves": True}, {"sells": True}, {"sells": True}) as (requester, *providers):
        await meshed([requester, *providers], 2)
        line = await Line.open(requester.hello.url, requester.hello.key)
        await offered(line, len(providers))
        for _ in range(WARM_UP):
            await _agree(line)
        alone = [await _agree(line) for _ in range(SEQUENTIAL)]
        await line.close()
        rate, waits = await _together(requester)
    remark = f"n={len(alone)}, p99 {percentile(alone, 0.99):.1f} ms; 1 requester, 2 providers"
    return [
        Taken(percentile(alone, 0.5), remark),
        Taken(rate, f"n={len(waits)}, p50 {percentile(waits, 0.5):.0f} ms, p99 {percentile(waits, 0.99):.0f} ms"),
    ]


async def _together(requester: Child) -> tuple[float, list[float]]:
    """Agreements a second while every client posts its next job when the last one is agreed; and all waits in ms."""
    waits: list[float] = []
    begun = time.monotonic()

    async def client() -> None:
        line = await Line.open(requester.hello.url, requester.hello.key)
        while time.monotonic() < begun + SECONDS:
            waits.append(await _agree(line))
        await line.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(waits) / (time.monotonic() - begun), waits


async def _agree(line: Line) -> float:
    """Milliseconds from the sending of a demand to its agreement, as the requester's node stamped it."""
    begun = time.time() * 1000
    job: dict[str, Any] = await line.post("/v1/jobs", BODY)
    while not job["timings"]["agreed"]:
        if job["finishedAt"]:
            raise RuntimeError(f"a job ended without agreement: {job['error']}")
        await asyncio.sleep(POLL)
        job = await line.get(f"/v1/jobs/{job['id']}")
    return float(job["timings"]["agreed"]) - begun


async def offered(line: Line, count: int) -> None:
    """Wait until the requester knows so many providers."""
    async with asyncio.timeout(30):
        while len((await line.get("/v1/providers"))["providers"]) < count:
            await asyncio.sleep(0.1)
