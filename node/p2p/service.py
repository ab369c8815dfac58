"""The network process: takes the node's commands from the socket, and gives back gossip, requests and answers."""

import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from market.messages import MAX_GOSSIP
from node.p2p.addresses import is_dialable, split_peer
from node.p2p.book import Book
from node.p2p.containment import contained, guarded
from node.p2p.frames import (
    Answer,
    Ask,
    Called,
    Cancel,
    Connect,
    Done,
    Failed,
    Publish,
    Refused,
    Request,
    Start,
    Started,
    Stop,
    Subscribe,
)
from node.p2p.gate import Gate
from node.p2p.hatch import Hatch
from node.p2p.host import CannotListen, build_host, running
from node.p2p.keeper import PEERS, Keeper
from node.p2p.link import Link
from node.p2p.pipes import STREAM, Pipes
from node.p2p.pubsub import MAX_TOPIC, Mesh
from node.p2p.rates import Blame
from node.p2p.router import Router
from node.p2p.rpc import RPC, Broken, Client, Server, Unreachable

log = logging.getLogger(__name__)

_PATIENCE: Final = 2.0
_ANSWER: Final = 60.0


class Refusal(Exception):
    """The command cannot be carried out, and why."""


class Service:
    """Everything of one host, wired together."""

    def __init__(self, start: Start, link: Link, hatch: Hatch) -> None:
        limits = start.limits
        self._link = link
        self.host: BasicHost = build_host(start.secret, limits)
        self._me = str(self.host.get_id())
        self._blame = Blame(limits.blame_limit, limits.ban)
        self._router = Router(limits)
        self._mesh = Mesh(self.host, self._router, Gate(start.network, limits), link.send_gossip, self._accuse)
        self._book = Book(self._me, Path(start.data_dir) / "peers.json")
        self._keeper = Keeper(self.host, self._book, limits, self._is_banned)
        vars(self.host.get_network())["is_banned"] = self._is_banned
        self._client = Client(self.host, limits, self._keeper.reach)
        self._server = Server(limits, self._ask_node)
        self._pipes = Pipes(self.host, limits, self._keeper.reach, link, hatch)
        self._waiting: dict[int, Waiter] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._counts: Counter[str] = Counter()
        self._nursery: trio.Nursery | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self, start: Start, ready: Callable[[], None], commands: Any) -> None:
        """Serve until the node says stop or closes the socket."""
        self._know(start)
        for protocol, owner in ((PEERS, self._keeper), (RPC, self._server), (STREAM, self._pipes)):
            self.host.set_stream_handler(protocol, guarded(owner.handle))
        async with running(self.host, start.listen), trio.open_nursery() as nursery:
            self._nursery = nursery
            async with background_trio_service(self._mesh), background_trio_service(self._router):
                await self._mesh.wait_until_ready()
                nursery.start_soon(self._keeper.run)
                nursery.start_soon(self._client.sweep)
                nursery.start_soon(self._pipes.run)
                ready()
                await self._obey(commands, nursery)
                nursery.cancel_scope.cancel()
        self._book.save()

    def _know(self, start: Start) -> None:
        self._book.load()
        self._keeper.announced = tuple(split_peer(address)[0] for address in start.announce)
        for address in start.bootstrap:
            place, peer = split_peer(address)
            if peer is not None:
                self._book.learn(peer, [place], keep=True)

    def addresses(self) -> tuple[str, ...]:
        """Where this host can be reached, with its peer id."""
        return tuple(f"{place}/p2p/{self._me}" for place in self._keeper.own_addresses())

    # --- commands -----------------------------------------------------------------------------------------------

    async def _obey(self, commands: Any, nursery: trio.Nursery) -> None:
        async for command in commands:
            if isinstance(command, Stop):
                return
            if isinstance(command, Answer):
                self._take_answer(command)
            elif isinstance(command, Cancel):
                self._cancel(command)
            else:
                nursery.start_soon(contained(self._carry_out), command)

    async def _carry_out(self, command: Any) -> None:
        try:
            value = await COMMANDS[type(command)](self, command)
        except Unreachable as error:
            self._link.send(Failed(command.call, str(error), is_unsent=True))
        except (Refusal, Broken) as error:
            self._link.send(Failed(command.call, str(error)))
        except Exception as error:
            log.exception("%s failed", type(command).__name__)
            self._link.send(Failed(command.call, repr(error)))
        else:
            self._link.send(Done(command.call, value))

    async def publish(self, command: Publish) -> None:
        """Waits a little while neighbours are behind, so that a burst is not dropped."""
        if len(command.data) > MAX_GOSSIP or len(command.topic) > MAX_TOPIC:
            raise Refusal(f"gossip takes at most {MAX_GOSSIP} bytes")
        with trio.move_on_after(_PATIENCE):
            while self._mesh.is_congested:  # noqa: ASYNC110 - several queues drain; polling is simpler than events
                await trio.sleep(0.005)
        await self._mesh.publish(command.topic, command.data)

    async def subscribe(self, command: Subscribe) -> None:
        """Join a topic."""
        await self._mesh.subscribe(command.topic)

    async def request(self, command: Request) -> bytes | None:
        """Ask a peer; a Cancel with the same number ends it."""
        with trio.CancelScope() as scope:
            self._scopes[command.call] = scope
            try:
                return await self._client.request(command.peer, command.data, command.timeout)
            finally:
                del self._scopes[command.call]
        raise Broken("cancelled")

    async def connect(self, command: Connect) -> None:
        """Dial, and keep the peer for good; the keeper goes on trying when the first dial fails."""
        place, peer = split_peer(command.address)
        if peer is None or not is_dialable(place):
            raise Refusal(f"not a multiaddr that ends in /p2p/<peer id>: {command.address[:100]}")
        self._book.learn(peer, [place], keep=True)
        if peer != self._me and not await self._keeper.reach(peer):
            raise Unreachable(f"{command.address} does not answer; it is tried again and again")

    async def ask(self, command: Ask) -> Any:
        """Questions about the state."""
        if command.what == "peers":
            return [(peer, self._book.addresses(peer)) for peer in sorted(self._keeper.connected())]
        if command.what == "addresses":
            return self.addresses()
        return self._status()

    def _status(self) -> dict[str, Any]:
        """Counters for metrics and tests."""
        mesh = {topic: sorted(map(str, peers)) for topic, peers in self._router.mesh.items()}
        subscribers = {topic: sorted(map(str, peers)) for topic, peers in self._mesh.peer_topics.items()}
        counts = {verdict.value: count for verdict, count in self._mesh.counts.items()}
        outboxes = self._mesh.peer_queues.values()
        dropped = sum(outbox.dropped for outbox in outboxes) + self._link.dropped
        banned = self._blame.banned(trio.current_time())
        return {"mesh": mesh, "subscribers": subscribers, "dropped": dropped, "banned": banned, **counts}

    # --- peers --------------------------------------------------------------------------------------------------

    async def _ask_node(self, peer: str, data: bytes) -> bytes | None:
        """Carry a request of a peer to the node and wait for its answer."""
        self._counts["calls"] += 1
        call = self._counts["calls"]
        waiter = self._waiting[call] = Waiter()
        self._link.send(Called(call, peer, data))
        try:
            with trio.move_on_after(_ANSWER):
                await waiter.done.wait()
            return waiter.answer
        finally:
            del self._waiting[call]

    def _take_answer(self, command: Answer) -> None:
        waiter = self._waiting.get(command.call)
        if waiter is not None:
            waiter.answer = command.data
            waiter.done.set()

    def _cancel(self, command: Cancel) -> None:
        scope = self._scopes.get(command.call)
        if scope is not None:
            scope.cancel()

    def _is_banned(self, peer: str) -> bool:
        return self._blame.is_banned(peer, trio.current_time())

    def _accuse(self, peer: ID, points: int) -> None:
        """Count a fault; at the limit the peer is cut off and stays out for a while."""
        if self._blame.add(str(peer), points, trio.current_time()) and self._nursery is not None:
            log.warning("kicked %s for bad gossip", peer)
            self._nursery.start_soon(contained(self.host.get_network().close_peer), peer)


class Waiter:
    """A request of a peer that the node has not answered yet."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: bytes | None = None


COMMANDS: Final[dict[type, Callable[[Service, Any], Awaitable[Any]]]] = {
    Publish: Service.publish,
    Subscribe: Service.subscribe,
    Request: Service.request,
    Connect: Service.connect,
    Ask: Service.ask,
}


async def serve(node: socket.socket, hatch: socket.socket) -> None:
    """The life of the process: the first frame says who we are, the end of the socket says that the node is gone."""
    link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(node)))
    commands = link.commands()
    start = await anext(commands, None)
    if not isinstance(start, Start):
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.write)
        try:
            service = Service(start, link, Hatch(hatch))
            await service.run(start, lambda: link.send(Started(service.addresses())), commands)
        except* CannotListen as error:
            link.send(Refused(str(error.exceptions[0])))
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


def main(node: socket.socket, hatch: socket.socket) -> None:
    """Run until the node is gone."""
    trio.run(serve, node, hatch, strict_exception_groups=True)
