"""Requests over `/neugrid/rpc/1`: on one stream a frame asks and a frame answers, many times in turn.

There is no status byte: whoever cannot answer (no handler, too many requests, a frame over 4 MiB) resets the stream.
"""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from msgspec import Struct, field

from market.messages import MAX_DIRECT
from node.p2p.limits import Limits
from node.p2p.rates import Buckets
from node.p2p.streams import BadStream, FrameReader, StreamEnded, framed

log = logging.getLogger(__name__)

RPC: Final = TProtocol("/neugrid/rpc/1")
_OPEN: Final = 5.0
_SWEEP: Final = 15.0

Ask = Callable[[str, bytes], Awaitable[bytes | None]]
Reach = Callable[[str], Awaitable[bool]]


class Unreachable(Exception):
    """No connection or stream could be opened: the peer has seen nothing of the request."""


class Broken(Exception):
    """The request may have reached the peer, and no answer came."""


class Server:
    """Answers the requests of peers with `ask`; one request at a time on a stream, several streams for a peer."""

    def __init__(self, limits: Limits, ask: Ask) -> None:
        self._limits, self._ask = limits, ask
        self._rate = Buckets(limits.request_rate, limits.request_burst)
        self._streams: Counter[str] = Counter()

    async def handle(self, stream: INetStream) -> None:
        """Serve one stream until the peer closes it, breaks a rule or is silent for too long."""
        peer = str(stream.muxed_conn.peer_id)
        self._streams[peer] += 1
        try:
            if self._streams[peer] > self._limits.request_streams:
                raise BadStream("too many streams")
            await self._serve(peer, stream)
        except StreamEnded:
            await stream.close()
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _serve(self, peer: str, stream: INetStream) -> None:
        reader = FrameReader(stream, MAX_DIRECT)
        while True:
            with trio.fail_after(5 * self._limits.stream_idle):
                request = await reader.frame()
            if not self._rate.take(peer, trio.current_time()):
                raise BadStream("too many requests")
            answer = await self._ask(peer, request)
            if answer is None:
                raise BadStream("no answer")
            with trio.fail_after(self._limits.stream_idle):
                await stream.write(framed(answer))


class _Line(Struct):
    """An open stream of ours and its reader."""

    stream: Any
    reader: FrameReader
    used_at: float

    @property
    def is_usable(self) -> bool:
        muxed = self.stream.muxed_stream
        return not (self.stream.is_closed or muxed.closed or muxed.send_closed or muxed.recv_closed)


class _Pool(Struct):
    slots: trio.CapacityLimiter
    idle: deque[_Line] = field(default_factory=deque)


class Client:
    """Sends requests; keeps a few open streams for each peer, so that a slow answer does not block the next one."""

    def __init__(self, host: BasicHost, limits: Limits, reach: Reach) -> None:
        self._host, self._limits, self._reach = host, limits, reach
        self._pools: dict[str, _Pool] = {}

    async def request(self, peer: str, data: bytes, timeout: float) -> bytes:
        """The answer of `peer` within `timeout` seconds. Raises Unreachable or Broken."""
        pool = self._pools.setdefault(peer, _Pool(trio.CapacityLimiter(self._limits.pool)))
        is_sent = False
        try:
            with trio.fail_after(timeout):
                async with pool.slots:
                    line = await self._line(peer, pool)
                    is_sent = True
                    return await self._exchange(line, pool, data)
        except trio.TooSlowError:
            raise (Broken if is_sent else Unreachable)(f"no answer in {timeout:g} s") from None

    async def _line(self, peer: str, pool: _Pool) -> _Line:
        while pool.idle:
            line = pool.idle.pop()
            if line.is_usable:
                return line
        return await self._open(peer)

    async def _open(self, peer: str) -> _Line:
        stream = await opened(self._host, self._reach, peer, RPC)
        return _Line(stream, FrameReader(stream, MAX_DIRECT), trio.current_time())

    async def _exchange(self, line: _Line, pool: _Pool, data: bytes) -> bytes:
        is_clean = False
        try:
            await line.stream.write(framed(data))
            answer = await line.reader.frame()
            is_clean = True
        except (BadStream, StreamEnded) as error:
            raise Broken(str(error) or "the peer closed the stream") from error
        except trio.Cancelled:
            raise
        except Exception as error:
            raise Broken(f"the stream broke: {error!r}") from error
        finally:
            if is_clean:
                line.used_at = trio.current_time()
                pool.idle.append(line)
            else:
                await drop(line.stream)
        return answer

    async def sweep(self) -> None:
        """Close streams that nobody used for a while, until cancelled."""
        while True:
            await trio.sleep(_SWEEP)
            oldest = trio.current_time() - self._limits.stream_idle
            for peer, pool in list(self._pools.items()):
                while pool.idle and (pool.idle[0].used_at < oldest or not pool.idle[0].is_usable):
                    await drop(pool.idle.popleft().stream)
                if not pool.idle and not pool.slots.borrowed_tokens:
                    del self._pools[peer]


async def opened(host: BasicHost, reach: Reach, peer: str, protocol: TProtocol) -> INetStream:
    """A new stream to a peer, which is dialled when it is not connected. Raises Unreachable."""
    try:
        if not await reach(peer):
            raise Unreachable("no connection")
        with trio.fail_after(_OPEN):
            return await host.new_stream(ID.from_base58(peer), [protocol])
    except (Unreachable, trio.Cancelled):
        raise
    except Exception as error:
        raise Unreachable(f"no stream: {error!r}") from error


async def drop(stream: INetStream) -> None:
    """Reset a stream whatever state it is in; a late answer must not be taken for the next one's."""
    with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
        try:
            await stream.reset()
        except Exception as error:  # noqa: BLE001 - it is gone either way
            log.debug("resetting a stream: %r", error)
