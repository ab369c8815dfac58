"""The whole way: client, gateway, two network processes, tunnel, service; the container is a server on loopback."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from market.errors import Refused
from market.leases import LeaseState
from market.workloads import Port
from node.actions.tunnels import ToPort, TunnelLimits, Tunnels, port_door
from node.adapters.network import LibP2PNetwork
from node.ports import ByteStream
from node.proxy.routes import LeasedReplica
from node.proxy.wire import Wire
from tests.builders import a_lease, a_workload, terms
from tests.fakes import MemoryStorage
from tests.node.adapters.networks import networks, until
from tests.node.proxy.services import HOST, Client, a_client, a_gateway, mirror, run

pytestmark = pytest.mark.p2p
LEASE = "lse_000001"


class LoopbackContainers:
    """Every container is this machine."""

    async def dial(self, _name: str, port: int) -> ByteStream:
        try:
            return Wire(*await asyncio.open_connection("127.0.0.1", port))
        except OSError as error:
            raise Refused("nothing listens") from error

    async def execute(self, name: str, command: Sequence[str], **_: object) -> object:
        raise NotImplementedError


@asynccontextmanager
async def a_path(folder: Path, port: int) -> AsyncIterator[tuple[int, LibP2PNetwork, LibP2PNetwork]]:
    """The gateway's port, and both networks: `port` belongs to a lease of the first with the second."""
    async with networks(folder, 2) as (requester, provider):
        storage, limits = MemoryStorage(), TunnelLimits()
        lease = a_lease(
            id=LEASE,
            state=LeaseState.RUNNING,
            terms=msgspec.structs.replace(terms(lease=LEASE), requester_peer=requester.peer),
            workload=a_workload(ports=(Port(port=port),)),
        )
        await storage.write(lambda tx: tx.put(lease))
        doors = {ToPort: port_door(LoopbackContainers(), limits)}  # type: ignore[arg-type]
        provider.serve_streams(Tunnels(storage, doors, limits).serve)
        replica = LeasedReplica(requester, provider.peer, LEASE, port)
        async with a_gateway(replica) as (listening, _):
            yield listening, requester, provider


@asynccontextmanager
async def a_mirror() -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await mirror(Wire(reader, writer))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_requests_of_every_size_and_many_at_once(tmp_path: Path) -> None:
    async def one(client: Client, number: int) -> None:
        seen = (await client.ask("POST", f"/{number}", body=bytes(number))).seen()
        assert (seen.target, len(seen.body) or seen.body) == (f"/{number}", number or "")

    async def body() -> None:
        async with a_mirror() as service, a_path(tmp_path, service) as (port, _, _):
            async with a_client(port) as client:
                await one(client, 5)
                seen = (await client.ask("PUT", body=bytes(20_000_000))).seen()
                assert seen.body == "20000000 bytes"

            async def many(number: int) -> None:
                async with a_client(port) as client:
                    for _ in range(3):
                        await one(client, number)

            await asyncio.gather(*(many(number) for number in range(30)))

    run(body(), 150)


def test_a_websocket_over_the_whole_way(tmp_path: Path) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async def body() -> None:
        async with (
            serve(echo, "127.0.0.1", 0) as server,
            a_path(tmp_path, server.sockets[0].getsockname()[1]) as (port, _, _),
            connect(f"ws://{HOST}:{port}/", host="127.0.0.1", port=port) as socket,
        ):
            for message in ("hello", bytes(500_000)):
                await socket.send(message)
                assert await socket.recv() == message

    run(body(), 150)


def test_a_service_that_is_not_there_is_502_and_a_dead_network_process_is_got_over(tmp_path: Path) -> None:
    async def status(port: int) -> int:
        async with a_client(port) as client:
            return (await client.ask("POST", body=b"x")).status

    async def body() -> None:
        async with a_mirror() as service, a_path(tmp_path, service) as (port, requester, _):
            assert await status(port) == 200
            os.kill(requester.pid or 0, signal.SIGKILL)
            assert await status(port) in (502, 503)

            async def is_back() -> bool:
                return await status(port) == 200

            await until(is_back)
        async with a_path(tmp_path / "again", service) as (port, _, _), a_client(port) as client:
            reply = await client.ask()
            assert (reply.status, reply.reason()) == (502, "PORT_CLOSED")

    run(body(), 150)
