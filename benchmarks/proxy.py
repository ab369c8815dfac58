"""What the way through gateway, two networks and tunnel adds to a request, against the service itself, in turns."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from benchmarks.goals import Taken, percentile
from benchmarks.proxied import LARGE
from benchmarks.web import Line

ROUNDS: Final = 400
CLIENTS: Final = 32
SECONDS: Final = 3.0
START_WITHIN: Final = 60.0


def measure() -> list[Taken]:
    """Milliseconds added at the median, requests a second with 32 clients, MB a second of a large body."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(_part("service"))
        address = await stack.enter_async_context(_part("provider", service))
        gateway = await stack.enter_async_context(_part("requester", service, address))
        direct, through = f"http://127.0.0.1:{service}", f"http://127.0.0.1:{gateway}"
        added = await _added(direct, through)
        rates = [await _rate(url) for url in (direct, through)]
        speeds = [await _speed(url) for url in (direct, through, direct, through)]
    rate = Taken(rates[1], f"the service itself: {rates[0]:,.0f}")
    speed = Taken(statistics.mean(speeds[1::2]), f"{LARGE >> 20} MiB; the service itself: {speeds[0]:,.0f}")
    return [added, rate, speed]


async def _added(direct: str, through: str) -> Taken:
    lines = [await Line.open(url, "") for url in (direct, through)]
    times: list[list[float]] = [[], []]
    for number in range(ROUNDS + 20):
        for line, taken in zip(lines, times, strict=True):
            begun = time.perf_counter()
            await line.send("GET", "/")
            if number >= 20:
                taken.append((time.perf_counter() - begun) * 1000)
    for line in lines:
        await line.close()
    own, whole = (statistics.median(taken) for taken in times)
    remark = f"n={ROUNDS}: {whole:.2f} ms (p95 {percentile(times[1], 0.95):.2f}); the service itself {own:.2f} ms"
    return Taken(whole - own, remark)


async def _rate(url: str) -> float:
    deadline = time.perf_counter() + SECONDS
    counts = await asyncio.gather(*(_load(url, deadline) for _ in range(CLIENTS)))
    return sum(counts) / SECONDS


async def _load(url: str, deadline: float) -> int:
    line, count = await Line.open(url, ""), 0
    while time.perf_counter() < deadline:
        await line.send("GET", "/")
        count += 1
    await line.close()
    return count


async def _speed(url: str) -> float:
    """MB (10^6 bytes) a second, read as they come."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    begun = time.perf_counter()
    writer.write(f"GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    left = LARGE
    while left > 0:
        data = await reader.read(2**18)
        if not data:
            raise RuntimeError(f"{left} bytes are missing")
        left -= len(data)
    writer.close()
    return LARGE / 1e6 / (time.perf_counter() - begun)


@asynccontextmanager
async def _part(*arguments: str) -> AsyncIterator[str]:
    """A running part, and the line that it says first."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.proxied", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NEUGRID_LOG": os.environ.get("NEUGRID_LOG", "error")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_WITHIN)
        if not line:
            raise RuntimeError(f"{arguments[0]} ended before it ran")
        yield line.decode().strip()
    finally:
        process.stdin.close()
        await process.wait()
