"""One part of the way through the gateway, in a process of its own; ends when its standard input does.

`service`: a small HTTP server. `provider PORT`: a network that leads to it. `requester PORT ADDRESS`: a gateway before
a second network. Each prints one line once it runs: a port, or the address of the network.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks.node import LOOPBACK, NETWORK
from market.errors import Refused
from market.leases import LeaseState
from market.signing import Signer
from market.units import PeerId
from market.workloads import Port
from node.actions.tunnels import ToPort, TunnelLimits, Tunnels, port_door
from node.adapters.network import LibP2PNetwork
from node.p2p.identity import peer_id_of
from node.ports import ByteStream
from node.proxy.gateway import Gateway
from node.proxy.routes import LeasedReplica, Replica
from node.proxy.wire import Wire
from tests.builders import a_lease, a_workload, terms
from tests.fakes import MemoryStorage

LARGE: Final = 256 * 2**20
_PIECE: Final = bytes(256 * 1024)
_SMALL: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
LEASE: Final = "lse_bench1"


def peer_of(number: int) -> PeerId:
    """The peer id of a numbered network."""
    return peer_id_of(Signer(number.to_bytes(32, "big")).public_key)


class Service(asyncio.Protocol):
    """Answers /large with LARGE bytes and everything else with a word; costs next to nothing."""

    def __init__(self) -> None:
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /large"):
            self._task = asyncio.ensure_future(self._pour())
        else:
            self._transport.write(_SMALL * data.count(b"\r\n\r\n"))

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _pour(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // len(_PIECE)):
            self._transport.write(_PIECE)
            await self._room.wait()


class LoopbackContainers:
    """Every container is this machine."""

    async def dial(self, _name: str, port: int) -> ByteStream:
        try:
            return Wire(*await asyncio.open_connection("127.0.0.1", port, limit=2**18))
        except OSError as error:
            raise Refused("nothing listens") from error


class OneRoute(msgspec.Struct):
    """Every host is the same service."""

    replica: Any

    def find(self, _host: str) -> Sequence[Replica]:
        return (self.replica,)


async def service(_stack: AsyncExitStack) -> str:
    """A port with the service behind it."""
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    return str(server.sockets[0].getsockname()[1])


async def provider(stack: AsyncExitStack, port: str) -> str:
    """The address of a network that lets requester number 2 to `port`."""
    network = await _network(stack, 1)
    storage, limits = MemoryStorage(), TunnelLimits()
    agreed = msgspec.structs.replace(terms(lease=LEASE), requester_peer=peer_of(2))
    workload = a_workload(ports=(Port(port=int(port)),))
    lease = a_lease(id=LEASE, state=LeaseState.RUNNING, terms=agreed, workload=workload)
    await storage.write(lambda tx: tx.put(lease))
    network.serve_streams(Tunnels(storage, {ToPort: port_door(LoopbackContainers(), limits)}, limits).serve)  # type: ignore[arg-type]
    return (await network.addresses())[0]


async def requester(stack: AsyncExitStack, port: str, address: str) -> str:
    """The port of a gateway that leads to the provider's `port`."""
    network = await _network(stack, 2, address)
    gateway = Gateway(OneRoute(LeasedReplica(network, peer_of(1), LEASE, int(port))))
    stack.push_async_callback(gateway.close)
    return str(gateway.start("127.0.0.1", 0))


async def _network(stack: AsyncExitStack, number: int, *bootstrap: str) -> LibP2PNetwork:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neugrid-bench-")))
    secret = number.to_bytes(32, "big")
    network = LibP2PNetwork(secret, NETWORK, listen=[LOOPBACK], bootstrap=bootstrap, data_dir=folder)
    return await stack.enter_async_context(network)


Part = Callable[..., Coroutine[Any, Any, str]]
PARTS: Final[dict[str, Part]] = {"service": service, "provider": provider, "requester": requester}


async def main(name: str, *arguments: str) -> None:
    """Be a part until there is no more standard input."""
    async with AsyncExitStack() as stack:
        print(await PARTS[name](stack, *arguments), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
