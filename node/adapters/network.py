"""libp2p for the node: the port `Network`, carried out by a supervised process of its own.

The node imports no libp2p. When the process dies, calls in flight fail at once with Unavailable, and it is started
again at once, and ever more slowly when it keeps dying; topics and known peers are restored.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from market.errors import BadMessage, ConfigError, InvalidParameters, PeerUnreachable, Unavailable
from market.messages import MAX_DIRECT, MAX_GOSSIP
from market.signing import Signer
from market.units import PeerId
from node.adapters.network_process import Process
from node.p2p.addresses import ip_and_port, split_peer
from node.p2p.frames import (
    Answer,
    AnyEvent,
    Arrived,
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
from node.p2p.identity import peer_id_of
from node.p2p.limits import Limits
from node.ports import Gossip, Peer, RequestHandler

log = logging.getLogger(__name__)

_STARTING: Final = 20.0
_SLOWEST: Final = 10.0
_AT_ONCE: Final = 5
_CHECK: Final = 5.0
_HUNG: Final = 15.0
_GRACE: Final = 5.0
_MOST_GOSSIP: Final = 50_000
_NO_TIME: Final = 2.0

T = TypeVar("T")


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
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last_call = 0
        self._handler: RequestHandler | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._gossip: asyncio.Queue[Gossip] = asyncio.Queue(_MOST_GOSSIP)
        self._addresses: tuple[str, ...] = ()
        self._started: asyncio.Future[None] | None = None
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.restarts = 0
        self.dropped = 0

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process and wait until it listens. Raises ConfigError when an address is taken or wrong."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        try:
            await self._launch()
        except BaseException:
            await self._bury()
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the process; calls in flight fail."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        for task in self._answering:
            task.cancel()
        if self._process is not None:
            self._process.link.send(Stop())
        await self._bury(_GRACE)

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
        return self._process.pid if self._process else None

    # --- the port -----------------------------------------------------------------------------------------------

    @property
    def peer(self) -> PeerId:
        """The peer id of this node."""
        return self._peer

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip `data`; BadMessage above 16 KiB."""
        if len(data) > MAX_GOSSIP:
            raise BadMessage("too large for gossip", expected=f"at most {MAX_GOSSIP} bytes", got=len(data))
        await self._call(Publish(self._next(), topic, data), _GRACE)

    async def subscribe(self, topic: str) -> None:
        """Join `topic`, now and after every restart of the process."""
        self._topics[topic] = None
        await self._call(Subscribe(self._next(), topic), _GRACE)

    async def gossip(self) -> AsyncIterator[Gossip]:
        """Messages as they arrive; where there are several readers, each message goes to one of them."""
        while True:
            yield await self._gossip.get()

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        """The answer of `peer`. Raises PeerUnreachable when nothing was sent, Unavailable when it may have been."""
        if len(data) > MAX_DIRECT:
            raise BadMessage("too large for a request", expected=f"at most {MAX_DIRECT} bytes", got=len(data))
        answer = await self._call(Request(self._next(), peer, data, timeout), timeout + _NO_TIME)
        return bytes(answer)

    def serve(self, handler: RequestHandler) -> None:
        """Answer requests of peers with `handler`."""
        self._handler = handler

    async def connect(self, address: str) -> None:
        """Dial and keep a peer. Raises PeerUnreachable when it does not answer now; it is tried again all the same."""
        if split_peer(address)[1] is None:
            raise InvalidParameters("a peer's address ends in /p2p/<peer id>", field="address", value=address)
        self._kept[address] = None
        await self._call(Connect(self._next(), address), _STARTING)

    async def peers(self) -> tuple[Peer, ...]:
        """The peers connected now."""
        found = await self._call(Ask(self._next(), "peers"), _GRACE)
        return tuple(Peer(PeerId(peer), tuple(addresses)) for peer, addresses in found)

    async def addresses(self) -> tuple[str, ...]:
        """Where this node listens."""
        return tuple(await self._call(Ask(self._next(), "addresses"), _GRACE))

    async def status(self) -> dict[str, Any]:
        """Counters of the network process: verdicts on gossip, the mesh and subscribers by topic, drops, bans."""
        return dict(await self._call(Ask(self._next(), "status"), _GRACE)) | {"restarts": self.restarts}

    # --- calls --------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._last_call += 1
        return self._last_call

    async def _call(self, command: Any, timeout: float) -> Any:
        """Send a command and wait for its Done; Unavailable when the process is down, dies or does not answer."""
        if self._process is None or self._started is None or not self._started.done():
            raise Unavailable("the network process is not running")
        future = self._calls[command.call] = asyncio.get_running_loop().create_future()
        self._process.link.send(command)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise Unavailable("the network process does not answer") from None
        except asyncio.CancelledError:
            if isinstance(command, Request) and self._process is not None:
                self._process.link.send(Cancel(command.call))
            raise
        finally:
            self._calls.pop(command.call, None)

    def _on_event(self, event: AnyEvent) -> None:
        if isinstance(event, Done):
            self._settle(event.call, event.value)
        elif isinstance(event, Failed):
            kind = PeerUnreachable if event.is_unsent else Unavailable
            self._settle(event.call, kind(event.reason))
        elif isinstance(event, Arrived):
            self._take(event)
        elif isinstance(event, Called):
            task = asyncio.create_task(self._answer(event))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif self._started is not None and not self._started.done():
            self._take_start(event, self._started)

    def _settle(self, call: int, outcome: Any) -> None:
        future = self._calls.get(call)
        if future is None or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _take(self, event: Arrived) -> None:
        for topic, data in event.messages:
            if self._gossip.full():
                self._gossip.get_nowait()
                self.dropped += 1
            self._gossip.put_nowait(Gossip(topic, data))

    async def _answer(self, event: Called) -> None:
        """A handler that fails, or is missing, answers nothing: the peer sees its stream reset."""
        process, answer = self._process, None
        try:
            if self._handler is not None:
                answer = await self._handler(PeerId(event.peer), event.data)
        except Exception:
            log.exception("the request handler failed")
        if answer is not None and len(answer) > MAX_DIRECT:
            log.error("an answer of %d bytes is too large", len(answer))
            answer = None
        if process is not None:
            process.link.send(Answer(event.call, answer))

    # --- supervision --------------------------------------------------------------------------------------------

    async def _launch(self) -> None:
        self._started = asyncio.get_running_loop().create_future()
        self._process = await Process.spawn(self._on_event)
        self._process.link.send(
            Start(
                secret=self._secret,
                network=self._network,
                listen=self._listen,
                bootstrap=(*self._bootstrap, *self._kept),
                announce=self._announce,
                data_dir=str(self._data_dir),
                limits=self._limits,
            )
        )
        lost = asyncio.create_task(self._process.link.lost.wait())
        waiting: set[asyncio.Future[Any]] = {self._started, lost}
        await asyncio.wait(waiting, timeout=_STARTING, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if not self._started.done():
            raise Unavailable("the network process did not start")
        self._started.result()
        for topic in list(self._topics):
            await self.subscribe(topic)

    def _take_start(self, event: Any, started: asyncio.Future[None]) -> None:
        if isinstance(event, Refused):
            started.set_exception(ConfigError(event.reason))
        elif isinstance(event, Started):
            self._listen = _with_ports(self._listen, event.addresses)
            started.set_result(None)

    async def _bury(self, patience: float = 0.0) -> None:
        """Make sure that the process is gone, and tell everybody who waits for it."""
        process, self._process = self._process, None
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Unavailable("the network process has died"))
        if process is not None:
            await process.end(patience)

    async def _supervise(self) -> None:
        deaths: deque[float] = deque()
        while True:
            try:
                if self._process is None:
                    await self._launch()
                await self._watch()
            except (Unavailable, ConfigError, OSError) as error:
                log.warning("the network process: %s", error)
            await self._bury()
            self.restarts += 1
            log.warning("the network process has died; starting it again")
            await asyncio.sleep(_pause(deaths, asyncio.get_running_loop().time()))

    async def _watch(self) -> None:
        """Return when the process has died or hangs."""
        process = self._process
        while process is not None and not process.link.lost.is_set():
            try:
                async with asyncio.timeout(_CHECK):
                    await process.link.lost.wait()
            except TimeoutError:
                await self._check()

    async def _check(self) -> None:
        call = Ask(self._next(), "addresses")
        await self._call(call, _HUNG)


def _pause(deaths: deque[float], now: float) -> float:
    """Seconds to wait before the next start: none for the first five deaths in a minute, then doubling to ten."""
    deaths.append(now)
    while deaths[0] < now - 60:
        deaths.popleft()
    return min(_SLOWEST, 0.25 * 2 ** (len(deaths) - _AT_ONCE)) if len(deaths) > _AT_ONCE else 0.0


def _with_ports(listen: tuple[str, ...], actual: tuple[str, ...]) -> tuple[str, ...]:
    """`listen` with port 0 replaced by the port that was given, so that peers find us again after a restart."""
    ports = [place[1] for address in actual if (place := ip_and_port(address))]
    is_one = len(listen) == 1 and ports
    return tuple(
        address.replace("/tcp/0", f"/tcp/{ports[0]}") if is_one and address.endswith("/tcp/0") else address
        for address in listen
    )
