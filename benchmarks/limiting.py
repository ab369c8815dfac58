"""What counting calls costs: a request through the whole application with limits and without, and one call alone.

Two windows, as many as the free tier has; the clock moves so that both are almost full and slide with every call. The
requests go to the ASGI application itself, on fakes, without a server; rounds with and without take turns.
"""

import asyncio
import statistics
import time
from typing import Any, Final

from benchmarks.goals import Taken
from node.api.limits import GENERAL, UNLIMITED, Limiter, Rules, Window
from tests.builders import NOW
from tests.node.api.fakes import ALICE, KEY, World

ROUNDS: Final = 15
CALLS: Final = 1_000
STEP: Final = 11
"""Milliseconds between two calls."""
RULES: Final[Rules] = {ALICE.tier: {GENERAL: (Window(100, 1), Window(1000, 10))}}


def measure() -> list[Taken]:
    """The median differences and times in us."""
    return [asyncio.run(_in_requests()), _alone()]


async def _in_requests() -> Taken:
    bare, limited = World(limits=UNLIMITED), World(limits=RULES)
    for world in (bare, limited):
        await _requests(world)
    rounds = [(await _requests(bare), await _requests(limited)) for _ in range(ROUNDS)]
    added = [ours - without for without, ours in rounds]
    without, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    remark = f"n={ROUNDS} rounds, {min(added):.0f} to {max(added):.0f}; GET /v1/version {ours:.0f} and {without:.0f} us"
    return Taken(statistics.median(added), remark)


async def _requests(world: World) -> float:
    """Microseconds a request."""
    begun = time.perf_counter()
    for _ in range(CALLS):
        world.clock.time += STEP
        await world.app(_scope(), _receive, _send)
    return (time.perf_counter() - begun) / CALLS * 1e6


def _scope() -> Any:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/version",
        "raw_path": b"/v1/version",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"node"), (b"x-api-key", KEY.encode())],
        "client": ("127.0.0.1", 40_000),
    }


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    if message["type"] == "http.response.start" and message["status"] != 200:
        raise RuntimeError(f"answered with {message['status']}")


def _alone() -> Taken:
    limiter, now, times = Limiter(RULES), int(NOW), []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            now += STEP
            limiter.hit(ALICE.id, ALICE.tier, GENERAL, now)
        times.append((time.perf_counter() - begun) / CALLS * 1e6)
    return Taken(statistics.median(times), f"n={ROUNDS} rounds, {min(times):.1f} to {max(times):.1f}; two windows")
