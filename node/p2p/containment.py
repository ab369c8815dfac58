"""Keeps one peer's fault from becoming everybody's: nothing that a peer sends may end the host.

libp2p 0.8.1 ends the whole host when a stream handler or a task of one connection raises, holds an inbound slot for
ever once a connection was accepted, has no limit per address, and lets a peer overrun its receive window without end.
"""

import functools
import logging
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_PING, YAMUX_HEADER_FORMAT, Yamux
from multiaddr import Multiaddr

from node.p2p.bytepath import QuickStream, write_frame
from node.p2p.limits import Limits
from node.p2p.rates import Buckets

log = logging.getLogger(__name__)

_PROBE_TIMEOUT: Final = 3.0
_WATCH: Final = 0.5
_REPLIES: Final = 1000
"""A peer that makes us say more at once, and reads none of it, waits like everybody."""

Handler = Callable[[INetStream], Awaitable[None]]
AsyncFunction = Callable[..., Awaitable[Any]]


def guarded(handler: Handler) -> Handler:
    """`handler` that never raises: whatever a stream's handler dies of resets that stream and ends there."""

    async def safe(stream: INetStream) -> None:
        try:
            await handler(stream)
        except Exception as error:  # noqa: BLE001 - the library turns any of them into the end of the host
            log.info("a stream of %s failed: %r", stream.muxed_conn.peer_id, error)
            with trio.move_on_after(1), trio.CancelScope(shield=True):
                await stream.reset()

    return safe


def contained(function: AsyncFunction) -> AsyncFunction:
    """`function` as a task that may fail alone."""

    @functools.wraps(function)
    async def safe(*args: object) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - as above
            log.info("a network task failed: %r", error)

    return safe


def contain_tasks(manager: Any) -> None:
    """Let tasks that this service manager starts from now on fail alone."""
    run_task = manager.run_task

    def run_contained(function: AsyncFunction, *args: object, **options: Any) -> None:
        run_task(contained(function), *args, **options)

    manager.run_task = run_contained


class Doors:
    """Counts who is inside: a cap in total, per address, and on the pace of one address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside: Counter[str] = Counter()
        self._pace = Buckets(limits.connects_per_ip, limits.connects_burst)

    def admit(self, ip: str, now: float) -> bool:
        """Whether a connection from `ip` may come in; it counts until `leave`."""
        if not self._has_room(ip) or (not is_loopback(ip) and not self._pace.take(ip, now)):
            return False
        self._inside[ip] += 1
        return True

    def leave(self, ip: str) -> None:
        """The connection has ended."""
        self._inside[ip] -= 1
        if self._inside[ip] <= 0:
            del self._inside[ip]

    def _has_room(self, ip: str) -> bool:
        if is_loopback(ip):
            return self._inside[ip] < self._limits.inbound_loopback
        remote = sum(count for other, count in self._inside.items() if not is_loopback(other))
        return remote < self._limits.inbound and self._inside[ip] < self._limits.inbound_per_ip


def is_loopback(ip: str) -> bool:
    """Whether the address is this machine's own."""
    return ip.startswith("127.") or ip in ("::1", "::ffff:127.0.0.1")


class GuardedSwarm(Swarm):
    """The swarm with doors that count, and with tasks that fail alone."""

    doors: Doors

    def is_banned(self, _peer: str) -> bool:
        """Whether the peer may not come in; the service puts its own judgement here."""
        return False

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        if self.is_banned(str(muxed_conn.peer_id)):
            await cast(Yamux, muxed_conn).secured_conn.close()
            raise SwarmException(f"{muxed_conn.peer_id} is banned")
        return await super().add_conn(muxed_conn, direction)

    async def run(self) -> None:
        contain_tasks(self.manager)
        await super().run()

    async def _handle_inbound_connection(self, read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        remote = read_write_closer.get_remote_address()
        ip = remote[0] if remote else ""
        if not self.doors.admit(ip, trio.current_time()):
            await read_write_closer.close()
            return
        try:
            muxed: Any = await self.upgrade_inbound_raw_conn(RawConnection(read_write_closer, False), maddr)
            await muxed.event_closed.wait()
        except Exception as error:  # noqa: BLE001 - a stranger that cannot shake hands is no event of ours
            log.debug("a connection from %s failed: %r", ip, error)
        finally:
            self.doors.leave(ip)

    async def notify_opened_stream(self, stream: INetStream) -> None:
        """Nobody listens for streams; asking around costs a nursery each."""

    async def notify_closed_stream(self, stream: INetStream) -> None:
        """As above."""

    async def notify_disconnected(self, conn: INetConn) -> None:
        await self._notify("disconnected", conn)


class WatchedYamux(Yamux):
    """A multiplexed connection that is cut when its peer is frozen or piles up bytes beyond its window."""

    limits = Limits()

    _reading: trio.lowlevel.Task | None = None
    _replying = 0

    async def handle_incoming(self) -> None:
        self._reading = trio.lowlevel.current_task()
        await super().handle_incoming()

    async def _write_frame(self, data: bytes) -> None:
        """What the reader has to say is said by a task of its own.

        Two readers that wait until the other one's has read what fills the wire would wait for ever.
        """
        if trio.lowlevel.current_task() is not self._reading or self._nursery is None or self._replying >= _REPLIES:
            await write_frame(self, data)
        else:
            self._replying += 1
            self._nursery.start_soon(contained(self._reply), data)

    async def _reply(self, data: bytes) -> None:
        try:
            await write_frame(self, data)
        finally:
            self._replying -= 1

    async def _read_data_body(self, length: int) -> bytes:
        """The bytes of a frame. The library takes a connection that breaks here for the end of one stream.

        Its reader would believe that it has everything; what times out ends the connection, and resets its streams.
        """
        try:
            return bytes(await super()._read_data_body(length))
        except Exception as error:
            raise trio.TooSlowError("the connection broke inside a frame") from error

    async def _measure_rtt_loop(self) -> None:
        next_probe = trio.current_time() + _WATCH
        while not self.event_shutting_down.is_set():
            await trio.sleep(_WATCH)
            if self._unread() > self.limits.buffer:
                await self._cut("piled up unread bytes")
            elif trio.current_time() >= next_probe:
                next_probe = trio.current_time() + self.limits.probe
                if not await self._answers():
                    await self._cut("does not answer")

    def _unread(self) -> int:
        """Bytes that nobody has read; on a stream of bytes its window is the peer's good right."""
        return sum(len(held) - self._granted(id, len(held)) for id, held in self.stream_buffers.items())

    def _granted(self, id: int, held: int) -> int:
        stream = self.streams.get(id)
        is_ours = isinstance(stream, QuickStream) and stream.patience is not None
        return min(held, stream.target_recv_window) if stream is not None and is_ours else 0

    async def _answers(self) -> bool:
        """Whether the peer returns a ping within three seconds, the time to write it included."""
        self._ping_id += 1
        self._ping_event = trio.Event()
        with trio.move_on_after(_PROBE_TIMEOUT) as scope:
            try:
                await self._write_frame(struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id))
                self._ping_sent_time = trio.current_time()
                await self._ping_event.wait()
            except Exception:  # noqa: BLE001 - closing already: the reader cleans up
                return True
        return not scope.cancelled_caught

    async def _cut(self, why: str) -> None:
        """Close without a word to the peer: a frozen one would not take it, and the writer may be stuck."""
        log.info("cutting %s: it %s", self.peer_id, why)
        with trio.CancelScope(shield=True):
            await self._cleanup_on_error()
