"""Networks in real processes on loopback, for tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from market.errors import Unavailable
from node.adapters.network import LibP2PNetwork
from node.p2p.limits import Limits
from tests.builders import NETWORK
from tests.node.p2p.said import TOPIC

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
WITHIN = 60.0
"""Seconds until what other processes do is taken for something that never comes."""


def a_network(
    folder: Path,
    number: int,
    *,
    listen: str = LOOPBACK,
    bootstrap: Sequence[str] = (),
    limits: Limits | None = None,
) -> LibP2PNetwork:
    """Network number `number`, not started; the same number has the same key and data directory."""
    return LibP2PNetwork(
        number.to_bytes(32, "big"),
        NETWORK,
        listen=[listen],
        bootstrap=bootstrap,
        data_dir=folder / str(number),
        limits=limits,
    )


@asynccontextmanager
async def networks(folder: Path, count: int, limits: Limits | None = None) -> AsyncIterator[list[LibP2PNetwork]]:
    """`count` running networks that have the first as bootstrap, on the topic and meshed."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(a_network(folder, 1, limits=limits))
        addresses, made = await first.addresses(), [first]
        for number in range(2, count + 1):
            one = a_network(folder, number, bootstrap=addresses, limits=limits)
            made.append(await stack.enter_async_context(one))
        for one in made:
            await one.subscribe(TOPIC)
        for one in made:
            await until(lambda: is_meshed(one, count - 1))  # noqa: B023
        yield made


async def is_meshed(one: LibP2PNetwork, others: int) -> bool:
    """Whether the network has `others` neighbours in its mesh, and says so."""
    try:
        mesh: list[str] = (await one.status())["mesh"].get(TOPIC, [])
    except Unavailable:
        return False
    return len(mesh) >= others


async def until(condition: Callable[[], Awaitable[object]], seconds: float = WITHIN) -> float:
    """Poll until the condition holds, and say how long that took; fails after `seconds`."""
    start = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)
    return time.monotonic() - start


class Ears:
    """Collects the gossip of a network while the block runs."""

    def __init__(self, network: LibP2PNetwork) -> None:
        self._network = network
        self.heard: list[bytes] = []

    async def __aenter__(self) -> "Ears":
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async for message in self._network.gossip():
            self.heard.append(message.data)

    async def hears(self, count: int, seconds: float = WITHIN) -> list[bytes]:
        """Everything heard, once there are `count` messages."""

        async def enough() -> bool:
            return len(self.heard) >= count

        await until(enough, seconds)
        return self.heard
