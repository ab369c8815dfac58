"""libp2p for the node: the ports `Network` and `Streams`, carried out by a supervised process of its own.

The node imports no libp2p. When the process dies, calls in flight fail at once with Unavailable, and it is started
again at once, and ever more slowly when it keeps dying; topics and known peers are restored.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from market.errors import BadMessage, InvalidParameters, PeerUnreachable, Unavailable
from market.messages import MAX_DIRECT, MAX_GOSSIP
from market.signing import Signer
from market.units import PeerId
from node.adapters.network_streams import SocketStream, stream_pair
from node.adapters.network_supervisor import Supervisor
from node.p2p.addresses import ip_and_port, split_peer
from node.p2p.frames import (
    MAX_HEAD,
    Answer,
    AnyEvent,
    Arrived,
    Ask,
    Called,
    Connect,
    Open,
    Opened,
    Publish,
    Request,
    Start,
    Started,
    Subscribe,
)
from node.p2p.identity import peer_id_of
from node.p2p.limits import Limits
from node.ports import Gossip, Peer, RequestHandler
from node.ports.network import ByteStream, StreamHandler

log = logging.getLogger(__name__)

_QUICK: Final = 5.0
_CONNECTING: Final = 20.0
_CROSSING: Final = 2.0
_MOST_GOSSIP: Final = 50_000


class LibP2PNetwork:
    """The network of one node. Use it as an async context manager, or call `start` and `close`."""

    def __init__(
        self,
        secret: bytes,
        network: bytes,
        *,
        listen: Sequence[str],
        bootstrap: Sequence[str] = (),
        announce: Sequence[str] = (),
        data_dir: Path,
        limits: Limits | None = None,
    ) -> None:
        self._peer = peer_id_of(Signer(secret).public_key)
        self._secret, self._network = secret, network
        self._listen, self._bootstrap, self._announce = tuple(listen), tuple(bootstrap), tuple(announce)
        self._data_dir, self._limits = data_dir, limits or Limits()
        self._topics: dict[str, None] = {}
        self._kept: dict[str, None] = {}
        self._handler: RequestHandler | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._gossip: asyncio.Queue[Gossip] = asyncio.Queue(_MOST_GOSSIP)
        self._stream_handler: StreamHandler | None = None
        self._process = Supervisor(self._first_word, self._restore, self._take, self._take_stream)
        self.dropped = 0

    async def start(self) -> None:
        """Start the process and wait until it listens. Raises ConfigError when an address is taken or wrong."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        await self._process.start()

    async def close(self) -> None:
        """End the process; calls in flight fail, requests of peers are dropped."""
        for task in self._answering:
            task.cancel()
        await self._process.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The id of the network process; None while there is none."""
        return self._process.pid

    @property
    def restarts(self) -> int:
        """How often the process has died."""
        return self._process.restarts

    # --- the port -----------------------------------------------------------------------------------------------

    @property
    def peer(self) -> PeerId:
        """The peer id of this node."""
        return self._peer

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip `data`; BadMessage above 16 KiB."""
        if len(data) > MAX_GOSSIP:
            raise BadMessage("too large for gossip", expected=f"at most {MAX_GOSSIP} bytes", got=len(data))
        await self._process.call(Publish(self._process.next_call(), topic, data), _QUICK)

    async def subscribe(self, topic: str) -> None:
        """Join `topic`, now and after every restart of the process."""
        self._topics[topic] = None
        await self._process.call(Subscribe(self._process.next_call(), topic), _QUICK)

    async def gossip(self) -> AsyncIterator[Gossip]:
        """Messages as they arrive; where there are several readers, each message goes to one of them."""
        while True:
            yield await self._gossip.get()

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        """The answer of `peer`. Raises PeerUnreachable when nothing was sent, Unavailable when it may have been."""
        if len(data) > MAX_DIRECT:
            raise BadMessage("too large for a request", expected=f"at most {MAX_DIRECT} bytes", got=len(data))
        request = Request(self._process.next_call(), peer, data, timeout)
        return bytes(await self._process.call(request, timeout + _CROSSING))

    def serve(self, handler: RequestHandler) -> None:
        """Answer requests of peers with `handler`."""
        self._handler = handler

    async def open_stream(self, peer: PeerId, head: bytes, timeout: float = 5.0) -> ByteStream:
        """A stream of bytes to `peer`. Raises PeerUnreachable when it can not be opened, whatever the reason."""
        if len(head) > MAX_HEAD:
            raise BadMessage("too large for a head", expected=f"at most {MAX_HEAD} bytes", got=len(head))
        stream, end = stream_pair()
        is_open = False
        try:
            with end:
                command = Open(self._process.next_call(), peer, head, timeout)
                await self._process.call(command, timeout + _CROSSING, end)
            is_open = True
        except Unavailable as error:
            raise PeerUnreachable(error.message, peer=peer) from error
        finally:
            if not is_open:
                stream.abort()
        return stream

    def serve_streams(self, handler: StreamHandler) -> None:
        """Give streams of peers to `handler`; one that fails, or is missing, breaks the stream."""
        self._stream_handler = handler

    async def connect(self, address: str) -> None:
        """Dial and keep a peer. Raises PeerUnreachable when it does not answer now; it is tried again all the same."""
        if split_peer(address)[1] is None:
            raise InvalidParameters("a peer's address ends in /p2p/<peer id>", field="address", value=address)
        self._kept[address] = None
        await self._process.call(Connect(self._process.next_call(), address), _CONNECTING)

    async def peers(self) -> tuple[Peer, ...]:
        """The peers connected now."""
        return tuple(Peer(PeerId(peer), tuple(addresses)) for peer, addresses in await self._ask("peers"))

    async def addresses(self) -> tuple[str, ...]:
        """Where this node listens."""
        return tuple(await self._ask("addresses"))

    async def status(self) -> dict[str, Any]:
        """Counters: verdicts on gossip, the mesh and subscribers by topic, drops, bans, restarts."""
        return dict(await self._ask("status")) | {"restarts": self.restarts}

    async def _ask(self, what: str) -> Any:
        return await self._process.call(Ask(self._process.next_call(), what), _QUICK)

    # --- the process --------------------------------------------------------------------------------------------

    def _first_word(self) -> Start:
        return Start(
            secret=self._secret,
            network=self._network,
            listen=self._listen,
            bootstrap=(*self._bootstrap, *self._kept),
            announce=self._announce,
            data_dir=str(self._data_dir),
            limits=self._limits,
        )

    async def _restore(self, started: Started) -> None:
        self._listen = _with_ports(self._listen, started.addresses)
        for topic in list(self._topics):
            await self.subscribe(topic)

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, Arrived):
            self._take_gossip(event)
        elif isinstance(event, Called):
            task = asyncio.create_task(self._answer(event))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _take_gossip(self, event: Arrived) -> None:
        for topic, data in event.messages:
            if self._gossip.full():
                self._gossip.get_nowait()
                self.dropped += 1
            self._gossip.put_nowait(Gossip(topic, data))

    def _take_stream(self, opened: Opened, stream: SocketStream) -> None:
        task = asyncio.create_task(self._serve_stream(opened, stream))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _serve_stream(self, opened: Opened, stream: SocketStream) -> None:
        try:
            if self._stream_handler is not None:
                await self._stream_handler(PeerId(opened.peer), opened.head, stream)
                await stream.close()
        except Unavailable as error:
            log.debug("a stream of %s broke: %s", opened.peer, error)
        except Exception:
            log.exception("the stream handler failed")
        finally:
            stream.abort()

    async def _answer(self, event: Called) -> None:
        """A handler that fails, or is missing, answers nothing: the peer sees its stream reset."""
        asked, answer = self._process.pid, None
        try:
            if self._handler is not None:
                answer = await self._handler(PeerId(event.peer), event.data)
        except Exception:
            log.exception("the request handler failed")
        if answer is not None and len(answer) > MAX_DIRECT:
            log.error("an answer of %d bytes is too large", len(answer))
            answer = None
        if self._process.pid == asked:
            self._process.tell(Answer(event.call, answer))


def _with_ports(listen: tuple[str, ...], actual: tuple[str, ...]) -> tuple[str, ...]:
    """`listen` with port 0 replaced by the port that was given, so that peers find us again after a restart."""
    ports = [place[1] for address in actual if (place := ip_and_port(address))]
    is_one = len(listen) == 1 and ports
    return tuple(
        address.replace("/tcp/0", f"/tcp/{ports[0]}") if is_one and address.endswith("/tcp/0") else address
        for address in listen
    )
