"""How late events come to many who follow: `GET /v1/events`, 500 clients in two processes, twenty events a second.

An event is a job that is posted; the time runs from the timestamp in the event, which the transaction gave it, to its
receipt by each client, on the machine's clock in whole milliseconds. So the commit is part of it.
"""

import asyncio
import sys
import time
from typing import Final

import msgspec

from benchmarks.agreement import BODY
from benchmarks.children import Child, nodes
from benchmarks.goals import Taken, percentile
from benchmarks.web import Line

CLIENTS: Final = 500
PROCESSES: Final = 2
RATE: Final = 20
EVENTS: Final = 200
WITHIN: Final = 60.0


def measure() -> list[Taken]:
    """What 99 of 100 receipts do not exceed, in ms."""
    return asyncio.run(_measure())


async def _measure() -> list[Taken]:
    async with nodes({"serves": True, "lives": False}) as (node,), asyncio.timeout(WITHIN):
        late = await _followed(node)
    remark = f"n={len(late)}, p50 {percentile(late, 0.5):.0f} ms, most {max(late):.0f} ms; {CLIENTS} clients"
    return [Taken(percentile(late, 0.99), f"{remark}, {RATE} events/s")]


async def _followed(node: Child) -> list[float]:
    followers = [await _start(node) for _ in range(PROCESSES)]
    try:
        for follower in followers:
            await _line(follower)
        await _post(node)
        return [late for follower in followers for late in msgspec.json.decode(await _line(follower), type=list[float])]
    finally:
        for follower in followers:
            if follower.returncode is None:
                follower.kill()
            await follower.wait()


async def _start(node: Child) -> asyncio.subprocess.Process:
    arguments = (node.hello.url, node.hello.key, str(CLIENTS // PROCESSES), str(EVENTS))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.followers", *arguments, stdout=asyncio.subprocess.PIPE, limit=2**26
    )


async def _line(follower: asyncio.subprocess.Process) -> bytes:
    assert follower.stdout is not None
    line = await follower.stdout.readline()
    if not line:
        raise RuntimeError("the followers ended with an error; its words are on standard error")
    return line


async def _post(node: Child) -> None:
    line = await Line.open(node.hello.url, node.hello.key)
    begun = time.monotonic()
    for number in range(EVENTS):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        await line.send("POST", "/v1/jobs", BODY)
    await line.close()
