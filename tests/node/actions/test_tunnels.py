"""Streams into leases: who gets in, what refusals say, and bytes both ways through the door of a port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from market.errors import NeugridError, NotFound, PeerUnreachable, Refused, Unavailable
from market.leases import Lease, LeaseState
from market.units import PeerId
from market.workloads import Port
from node.actions.pumping import pump
from node.actions.tunnels import Carrier, Head, ToPort, TunnelLimits, Tunnels, open_tunnel, port_door
from node.ports import ByteStream
from tests.builders import a_lease, a_workload, terms
from tests.fakes import MemoryStorage
from tests.node.proxy.services import until
from tests.streams import MemoryStream, memory_streams
from tests.world import FakeHub, FakeNetwork

LEASE = "lse_000001"


class FakeContainers:
    """Containers of which only ports can be reached: `listening` gets the other end of each connection."""

    def __init__(self) -> None:
        self.listening: dict[tuple[str, int], Callable[[MemoryStream], Awaitable[None]]] = {}
        self.error: Exception | None = None
        self.is_deaf = False
        self.dialled: list[MemoryStream] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def dial(self, name: str, port: int) -> ByteStream:
        if self.error is not None:
            raise self.error
        if self.is_deaf:
            await asyncio.Event().wait()
        serve = self.listening.get((name, port))
        if serve is None:
            raise Refused("nothing listens")
        ours, theirs = memory_streams()
        self.dialled.append(ours)
        self._tasks.append(asyncio.ensure_future(serve(theirs)))
        return ours

    async def execute(self, name: str, command: Sequence[str], **_: object) -> object:
        raise NotImplementedError


class Scene:
    """A provider with a lease that runs for the requester, and the networks of both."""

    def __init__(self, limits: TunnelLimits | None = None, **lease: object) -> None:
        hub = FakeHub()
        self.requester, self.provider = FakeNetwork(hub, "peer-requester"), FakeNetwork(hub, "peer-provider")
        self.containers, self.storage = FakeContainers(), MemoryStorage()
        self.lease = a_running_lease(**lease)
        limits = limits or TunnelLimits()
        doors = {ToPort: port_door(self.containers, limits), ToEcho: echo_door}  # type: ignore[arg-type]
        self.tunnels = Tunnels(self.storage, doors, limits)
        self.provider.serve_streams(self.tunnels.serve)

    async def open(self, head: Head | None = None, by: FakeNetwork | None = None, within: float = 8.0) -> ByteStream:
        await self.storage.write(lambda tx: tx.put(self.lease))
        head = head or ToPort(lease=LEASE, port=8080)
        return await open_tunnel(by or self.requester, self.provider.peer, head, within=within)

    async def refusal(self, head: Head | None = None, by: FakeNetwork | None = None) -> str:
        with pytest.raises(Refused) as caught:
            await self.open(head, by)
        codes = caught.value.details["codes"]
        assert isinstance(codes, tuple)
        return str(codes[0])


class ToEcho(Head, frozen=True, kw_only=True, tag="echo"):
    """A kind that only these tests know."""


@asynccontextmanager
async def echo_door(lease: Lease, _head: ToEcho) -> AsyncIterator[Carrier]:
    async def carry(stream: ByteStream) -> None:
        await stream.write(lease.id.encode())

    yield carry


def a_running_lease(**changes: object) -> Lease:
    workload = a_workload(ports=(Port(port=8080), Port(port=9090, protocol="tcp")))
    values = {"terms": terms(lease=LEASE, requester_peer="peer-requester"), "workload": workload} | changes
    return a_lease(**({"id": LEASE, "state": LeaseState.RUNNING} | values))


async def shout(stream: MemoryStream) -> None:
    while data := await stream.read():
        await stream.write(data.upper())
    await stream.close()


def run(body: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await body

    asyncio.run(bounded())


def test_a_requester_reaches_the_port_of_its_running_lease() -> None:
    async def body() -> None:
        scene = Scene()
        scene.containers.listening[scene.lease.container, 8080] = shout
        stream = await scene.open()
        await stream.write(b"hello")
        assert await stream.read() == b"HELLO"
        await stream.close_writing()
        assert await stream.read() == b""

    run(body())


def test_each_kind_of_head_has_its_own_door() -> None:
    async def body() -> None:
        stream = await Scene().open(ToEcho(lease=LEASE))
        assert await stream.read() == LEASE.encode()

    run(body())


@pytest.mark.parametrize(
    ("changes", "head", "code"),
    [
        ({}, ToPort(lease="lse_999999", port=8080), "NOT_FOUND"),
        ({"side": "requester"}, None, "NOT_FOUND"),
        ({"terms": terms(lease=LEASE, requester_peer="peer-other")}, None, "NOT_FOUND"),
        *(({"state": state}, None, "NOT_RUNNING") for state in LeaseState if state is not LeaseState.RUNNING),
        ({}, ToPort(lease=LEASE, port=22), "NO_SUCH_PORT"),
        ({"workload": None}, None, "NO_SUCH_PORT"),
        ({}, ToPort(lease=LEASE, port=9090), "PORT_CLOSED"),
    ],
)
def test_nobody_else_and_nowhere_else(changes: dict[str, object], head: Head | None, code: str) -> None:
    async def body() -> None:
        scene = Scene(**changes)
        scene.containers.listening[scene.lease.container, 8080] = shout
        scene.containers.listening[scene.lease.container, 22] = shout
        assert await scene.refusal(head) == code
        assert scene.containers.dialled == []

    run(body())


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFound("gone"), "NOT_RUNNING"), (Unavailable("no engine"), "SERVICE_UNAVAILABLE")],
)
def test_why_a_port_can_not_be_dialled_is_said(error: NeugridError, code: str) -> None:
    async def body() -> None:
        scene = Scene()
        scene.containers.error = error
        assert await scene.refusal() == code

    run(body())


def test_a_port_that_does_not_answer_is_given_up() -> None:
    async def body() -> None:
        scene = Scene(TunnelLimits(dial_within=0.05))
        scene.containers.is_deaf = True
        assert await scene.refusal() == "DIAL_TIMEOUT"

    run(body())


def test_streams_into_one_lease_are_bounded() -> None:
    async def body() -> None:
        scene = Scene(TunnelLimits(per_lease=2))
        scene.containers.listening[scene.lease.container, 8080] = shout
        held = [await scene.open() for _ in range(2)]
        assert await scene.refusal() == "BUSY"
        await held[0].close()
        while not await is_open(scene):
            await asyncio.sleep(0)

    async def is_open(scene: Scene) -> bool:
        try:
            await scene.open()
        except Refused:
            return False
        return True

    run(body())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 10_000,
        b'{"kind":"none","lease":"lse_000001"}',
        b'{"kind":"port","lease":"lse_000001","port":70000}',
        b'{"kind":"port","lease":"' + b"x" * 10_000 + b'","port":80}',
    ],
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    async def body() -> None:
        scene = Scene()
        stream = await scene.requester.open_stream(scene.provider.peer, head)
        assert b"BAD_MESSAGE" in await stream.read()

    run(body())


def test_the_container_is_let_go_when_the_peer_is_gone_and_the_peer_learns_of_a_container_that_broke() -> None:
    async def body() -> None:
        scene = Scene()
        scene.containers.listening[scene.lease.container, 8080] = shout
        stream = await scene.open()
        await stream.close()
        await until(lambda: scene.containers.dialled[0].is_closed)
        broken = await scene.open()
        scene.containers.dialled[1].abort()
        with pytest.raises(Unavailable):
            await broken.read()

    run(body())


def test_a_silent_tunnel_is_cut() -> None:
    async def body() -> None:
        scene = Scene(TunnelLimits(idle=0.5))
        scene.containers.listening[scene.lease.container, 8080] = shout
        stream = await scene.open()
        with pytest.raises(Unavailable):
            await stream.read()
        await until(lambda: scene.containers.dialled[0].is_closed)

    run(body())


@pytest.mark.parametrize("answer", [b"", b"\x00", b"\xff\xff", b"\x00\x02[]", b"\x00\x05{}"])
def test_a_provider_that_answers_nonsense_or_nothing_is_no_open_tunnel(answer: bytes) -> None:
    async def nonsense(_peer: PeerId, _head: bytes, stream: ByteStream) -> None:
        await stream.write(answer)

    async def body() -> None:
        scene = Scene()
        scene.provider.serve_streams(nonsense)
        with pytest.raises(NeugridError):
            await scene.open()

    run(body())


def test_a_provider_that_does_not_answer_is_unreachable() -> None:
    async def never(_peer: PeerId, _head: bytes, _stream: ByteStream) -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        scene = Scene()
        scene.provider.serve_streams(never)
        with pytest.raises(PeerUnreachable):
            await scene.open(within=0.1)

    run(body())


def test_once_one_side_has_ended_less_patience_is_left() -> None:
    async def body() -> None:
        one, inner = memory_streams()
        other, outer = memory_streams()
        await one.close_writing()
        with pytest.raises(Unavailable):
            await pump(inner, outer, idle=60, farewell=0.05)
        assert await other.read() == b""

    run(body())
