"""Lines of output from a container to a user who follows them: how many a second, how late, and whether all come.

A provider, a requester and the user are processes of their own; the lines go through the relay, the wire, the
requester's disk (every commit synced) and server-sent events. How fast the lines of a real container are read from its
engine is measured apart.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.agreement import offered
from benchmarks.children import Child, meshed, nodes
from benchmarks.goals import Taken, percentile
from benchmarks.web import Line
from market.units import Seconds
from node.adapters.base_images import ensure_base_images
from tests.node.adapters.engines import a_container, a_node, a_runtime

RATE: Final = 10_000
PACED: Final = 100_000
FAST: Final = 200_000
READ: Final = 300_000
_LINE: Final = re.compile(rb'"message":"(\d+) (\d+) ')


def measure() -> list[Taken]:
    """In the order of the goals."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with nodes({"serves": True}, {"sells": True, "talks": True}) as (requester, provider):
        await meshed([requester, provider], 1)
        line = await Line.open(requester.hello.url, requester.hello.key)
        await offered(line, 1)
        await line.close()
        await _followed(requester, 1000, 0)
        paced, _ = await _followed(requester, PACED, RATE)
        fast, took = await _followed(requester, FAST, 0)
    lost = PACED + FAST - len(paced) - len(fast)
    delay = percentile(paced, 0.99)
    return [
        Taken(len(fast) / took, f"{FAST:,} lines of 80 bytes in {took:.1f} s, one container, one follower"),
        Taken(lost, f"of {PACED + FAST:,}; each came once and in order"),
        Taken(delay, f"p50 {percentile(paced, 0.5):.0f} ms; {PACED:,} lines"),
        Taken(await _read_rate(), f"{READ:,} lines"),
    ]


async def _followed(requester: Child, count: int, rate: int) -> tuple[list[float], float]:
    """How late each line came in ms, and the seconds from the first line written to the last one read."""
    body = {
        "image": "busybox",
        "command": ["say", str(count), str(rate)],
        "resources": {"cpu": 0.1, "memory": "16Mi"},
        "maxPrice": "10",
        "timeout": "10m",
    }
    line = await Line.open(requester.hello.url, requester.hello.key)
    job = await line.post("/v1/jobs", msgspec.json.encode(body))
    await line.close()
    late: list[float] = []
    first = last = 0
    async for data in _stream(requester, f"/v1/jobs/{job['id']}/logs?follow=true"):
        last = time.monotonic_ns()
        for number, written in _LINE.findall(data):
            _expect(int(number), len(late))
            first = first or int(written)
            late.append((last - int(written)) / 1e6)
    return late, (last - first) / 1e9


async def _stream(node: Child, path: str) -> AsyncIterator[bytes]:
    """Whole events, as many at once as come."""
    left = b""
    async with (
        httpx.AsyncClient(headers={"X-API-Key": node.hello.key}, timeout=120) as client,
        client.stream("GET", node.hello.url + path) as answer,
    ):
        async for data in answer.aiter_bytes():
            whole, _, left = (left + data).rpartition(b"\n\n")
            yield whole


def _expect(number: int, wanted: int) -> None:
    if number != wanted:
        raise RuntimeError(f"line {wanted} was expected, line {number} came")


async def _read_rate() -> float:
    """Lines a second from the start of a real container to its last line here."""
    await ensure_base_images()
    with tempfile.TemporaryDirectory() as folder:
        async with a_runtime(a_node(), Path(folder)) as runtime:
            spec = a_container("seq", str(READ), timeout=Seconds(0), disk=0)
            await runtime.start(spec)
            begun, count = time.monotonic(), 0
            async for _ in runtime.logs(spec.name):
                count += 1
            return count / (time.monotonic() - begun)
