"""Streams of bytes, `/neugrid/stream/1`: a head in one frame, then bytes both ways; each has a socket to the node.

Nothing is kept here: a full socket stops the reading of the libp2p stream, which stops its window, which stops the
peer; and the other way round. Whichever side breaks, the other one is told so, and not that the stream has ended.
"""

import logging
import math
import socket
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError

from node.p2p.bytepath import QuickStream
from node.p2p.containment import contained
from node.p2p.frames import MAX_HEAD, Done, Failed, Open, Opened
from node.p2p.hatch import Hatch, to_stream
from node.p2p.limits import Limits
from node.p2p.link import Link
from node.p2p.pieces import END, READ, Pieces, piece
from node.p2p.rates import Buckets
from node.p2p.rpc import Reach, Unreachable, drop, opened
from node.p2p.streams import BadStream, FrameReader, framed

log = logging.getLogger(__name__)

STREAM: Final = TProtocol("/neugrid/stream/1")


class Pipes:
    """Opens streams for the node, and brings it those of its peers."""

    def __init__(self, host: BasicHost, limits: Limits, reach: Reach, link: Link, hatch: Hatch) -> None:
        self._host, self._limits, self._reach = host, limits, reach
        self._link, self._hatch = link, hatch
        self._rate = Buckets(limits.byte_stream_rate, limits.byte_stream_burst)
        self._inside: Counter[str] = Counter()
        self._carried = 0

    async def run(self) -> None:
        """Open what the node wants opened, until it is gone."""
        async with trio.open_nursery() as nursery:
            async for command, end in self._hatch.opens():
                nursery.start_soon(contained(self._open), command, end)

    async def handle(self, stream: INetStream) -> None:
        """Carry a stream that a peer has opened, if there is room for it."""
        peer = str(stream.muxed_conn.peer_id)
        is_full = self._inside[peer] >= self._limits.byte_streams_per_peer
        if is_full or not self._rate.take(peer, trio.current_time()):
            raise BadStream("too many streams of bytes of one peer")
        self._inside[peer] += 1
        try:
            await self._admit(peer, stream)
        finally:
            self._inside[peer] -= 1
            if not self._inside[peer]:
                del self._inside[peer]

    async def _admit(self, peer: str, stream: INetStream) -> None:
        """Places are counted when the head has come, so that nobody takes them by saying nothing."""
        reader = FrameReader(stream, MAX_HEAD)
        with trio.fail_after(self._limits.head_within):
            head = await reader.frame()
        if self._carried >= self._limits.byte_streams:
            raise BadStream("too many streams of bytes")
        self._carried += 1
        try:
            await Pipe(stream, self._limits).carry(await self._hatch.announce(Opened(peer, head)), reader.rest())
        finally:
            self._carried -= 1

    async def _open(self, command: Open, end: socket.socket) -> None:
        async with to_stream(end) as node:
            try:
                pipe = await self._pipe(command)
            except Unreachable as error:
                self._link.send(Failed(command.call, str(error), is_unsent=True))
                return
            self._link.send(Done(command.call))
            await pipe.carry(node)

    async def _pipe(self, command: Open) -> "Pipe":
        try:
            with trio.fail_after(command.timeout):
                stream = await opened(self._host, self._reach, command.peer, STREAM)
        except trio.TooSlowError:
            raise Unreachable(f"no stream in {command.timeout:g} s") from None
        pipe = Pipe(stream, self._limits)
        await pipe.begin(command.head)
        return pipe


class Pipe:
    """One libp2p stream and the socket that its bytes go through."""

    def __init__(self, stream: INetStream, limits: Limits) -> None:
        self._stream, self._idle = stream, limits.byte_stream_idle
        self._muxed: Any = getattr(stream, "muxed_stream", stream)
        if isinstance(self._muxed, QuickStream):
            self._muxed.most_window, self._muxed.patience = limits.byte_stream_window, math.inf
            # The library forgets what a closed stream still holds after a minute; a slow reader may take longer.
            self._muxed._closed_at = math.inf
        self._scope = trio.CancelScope()
        self._has_ended, self._has_closed = False, False

    async def begin(self, head: bytes) -> None:
        """Say what the stream is about."""
        try:
            await self._muxed.write(framed(head))
        except Exception as error:
            await drop(self._stream)
            raise Unreachable(f"the stream broke: {error!r}") from error

    async def carry(self, node: trio.SocketStream, ahead: bytes = b"") -> None:
        """Carry bytes until both sides have ended, or one is gone, or nothing moves for too long."""
        try:
            async with node:
                with self._scope:
                    self._touch()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._to_peer, node)
                        nursery.start_soon(self._to_node, node, ahead)
        finally:
            if not (self._has_ended and self._has_closed):
                await drop(self._stream)

    def _touch(self) -> None:
        self._scope.deadline = trio.current_time() + self._idle

    # --- to the node --------------------------------------------------------------------------------------------

    async def _to_node(self, node: trio.SocketStream, data: bytes) -> None:
        try:
            while True:
                if data:
                    await node.send_all(piece(data))
                    self._touch()
                data = await self._muxed.read(READ)
        except MuxedStreamError as error:
            if not self._is_end(error):
                self._scope.cancel()
                return
        except trio.BrokenResourceError:
            return  # the node is gone: the other direction sees that too
        with suppress(trio.BrokenResourceError):
            await node.send_all(END)
        self._has_ended = True
        if self._has_closed:
            self._scope.cancel()

    def _is_end(self, error: MuxedStreamError) -> bool:
        """Whether the peer has said that it writes no more; what comes after that takes nothing back."""
        is_over = isinstance(error, MuxedStreamEOF) or self._muxed.recv_closed
        return is_over and not self._muxed.conn.event_shutting_down.is_set()

    # --- to the peer --------------------------------------------------------------------------------------------

    async def _to_peer(self, node: trio.SocketStream) -> None:
        pieces = Pieces()
        try:
            while received := await node.receive_some(READ):
                self._touch()
                pieces.feed(received)
                while data := pieces.take(READ):
                    await self._muxed.write(data)
                if pieces.has_ended and not self._has_closed:
                    await self._close()
        except trio.BrokenResourceError:
            log.debug("the node let go of a stream with unread bytes")
        except MuxedStreamError:
            # The peer reads no more, but what it wrote is still wanted.
            node.socket.shutdown(socket.SHUT_RD)
            return
        self._scope.cancel()

    async def _close(self) -> None:
        await self._muxed.close()
        self._has_closed = True
        if self._has_ended:
            self._scope.cancel()
