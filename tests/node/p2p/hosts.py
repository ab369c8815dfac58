"""Hosts of ours in one trio loop, and the tools of an attacker, for tests of the network process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import background_trio_service

from market.signing import Signer
from node.p2p.gate import Gate
from node.p2p.host import build_host, dial, running
from node.p2p.limits import Limits
from node.p2p.pubsub import Mesh
from node.p2p.router import Router
from node.p2p.streams import framed
from tests.builders import NETWORK, a_signer
from tests.node.p2p.said import TOPIC, a_message

MESHSUB = "/meshsub/1.1.0"
WITHIN = 60.0
"""Seconds until something is taken for what never comes."""


class Host:
    """A running host: what reached the node's side is in `heard`, faults held against peers in `faults`."""

    def __init__(self, number: int, limits: Limits) -> None:
        self.signer: Signer = a_signer(number)
        self.heard: list[bytes] = []
        self.faults: list[tuple[ID, int]] = []
        self.host = build_host(number.to_bytes(32, "big"), limits)
        self.router = Router(limits)
        self.mesh = Mesh(self.host, self.router, Gate(NETWORK, limits), self._hear, self._blame)

    @property
    def id(self) -> ID:
        return self.host.get_id()

    @property
    def swarm(self) -> Any:
        return self.host.get_network()

    @property
    def address(self) -> str:
        return next(str(a) for listener in self.swarm.listeners.values() for a in listener.get_addrs())

    def _hear(self, _topic: str, data: bytes) -> None:
        self.heard.append(data)

    def _blame(self, peer: ID, points: int) -> None:
        self.faults.append((peer, points))

    async def say(self, seq: int, **changes: Any) -> bytes:
        data = a_message(seq, by=self.signer, **changes)
        await self.mesh.publish(TOPIC, data)
        return data


@asynccontextmanager
async def a_host(
    number: int, *, joins: bool = True, port: int = 0, limits: Limits | None = None
) -> AsyncIterator[Host]:
    """Host number `number` listening on loopback."""
    host = Host(number, limits or Limits())
    async with (
        running(host.host, [f"/ip4/127.0.0.1/tcp/{port}"]),
        background_trio_service(host.mesh),
        background_trio_service(host.router),
    ):
        await host.mesh.wait_until_ready()
        if joins:
            await host.mesh.subscribe(TOPIC)
        yield host


@asynccontextmanager
async def hosts(count: int, limits: Limits | None = None) -> AsyncIterator[list[Host]]:
    """`count` hosts on the topic, all connected to all, and meshed."""
    async with several(count, limits) as made:
        for index, host in enumerate(made):
            for other in made[:index]:
                await meet(host, other)
        await until(lambda: all(meshed(host, count - 1) for host in made))
        yield made


@asynccontextmanager
async def several(count: int, limits: Limits | None = None, first: int = 1) -> AsyncIterator[list[Host]]:
    """`count` hosts that do not know each other."""
    if count == 0:
        yield []
        return
    async with a_host(first, limits=limits) as host, several(count - 1, limits, first + 1) as others:
        yield [host, *others]


def meshed(host: Host, others: int) -> bool:
    return len(host.router.mesh.get(TOPIC, ())) >= min(others, 4) and len(host.mesh.peers) >= others


async def meet(one: Host, other: Host) -> None:
    """Connect two hosts and wait until each may send gossip to the other."""
    assert await dial(one.host, other.id, [other.address], WITHIN)
    await until(lambda: other.id in one.mesh.peers and one.id in other.mesh.peers)
    await until(lambda: {one.id, other.id} <= subscribed(one) | subscribed(other) | {one.id, other.id})


def subscribed(host: Host) -> set[ID]:
    return set(host.mesh.peer_topics.get(TOPIC, ()))


async def until(condition: Callable[[], object], seconds: float = WITHIN) -> None:
    """Wait for something that happens by itself; fails after `seconds`."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


async def gossip_stream(attacker: Host, victim: Host) -> INetStream:
    """A raw gossip stream, on which the attacker writes what it likes."""
    if not attacker.swarm.get_connections(victim.id):
        assert await dial(attacker.host, victim.id, [victim.address], WITHIN)
    return await attacker.host.new_stream(victim.id, [MESHSUB])


async def fails(work: Callable[[], Awaitable[object]]) -> bool:
    """Whether the work raises, whatever it is that the library raises there."""
    try:
        await work()
    except Exception:  # noqa: BLE001
        return True
    return False


def rpc(**fields: Any) -> bytes:
    """A framed gossip RPC."""
    return framed(rpc_pb2.RPC(**fields).SerializeToString())


def run(body: Callable[[], Awaitable[None]], seconds: float = 150.0) -> None:
    """Run a test's body under trio, with a deadline."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await body()

    trio.run(bounded)
