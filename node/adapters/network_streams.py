"""The node's end of streams of bytes: the socket through which they are handed over, and each stream's own socket."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from market.errors import PeerUnreachable, Unavailable
from node.p2p.frames import OPENED, Open, Opened, packed
from node.p2p.passing import BESIDE, FLAGS, MOST, enclosed, sockets_in
from node.p2p.pieces import END, READ, Pieces, piece

_LAST_WORD: Final = 10.0
"""Seconds for the end of a stream to find room behind what was written before it."""


class SocketStream:
    """A stream of bytes over its Unix socket: for one reader and one writer at a time."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._pieces = Pieces()
        self._writing = asyncio.Lock()
        self._has_ended = False
        self._is_closed = False
        self._users = 0

    async def read(self, most: int = 65_536) -> bytes:
        """Some bytes; b"" at the end of the stream. Unavailable when it broke."""
        while (data := self._pieces.take(most)) is None:
            received = await self._receive()
            if not received:
                raise Unavailable("the stream broke")
            self._pieces.feed(received)
        return data

    async def write(self, data: bytes) -> None:
        """Send all of `data`. Unavailable when the stream broke, or is closed for writing."""
        if not data:
            return
        async with self._writing:
            if self._has_ended:
                raise Unavailable("the stream is closed for writing")
            await self._send(piece(data))

    async def close_writing(self) -> None:
        """Say that nothing more comes. A stream that broke in the meantime says so to its reader."""
        async with self._writing:
            if not self._has_ended and not self._is_closed:
                self._has_ended = True
                await self._send(END)

    async def close(self) -> None:
        """End the writing if nobody writes, and let go; the other side's further bytes are not taken."""
        try:
            if not self._writing.locked():
                with suppress(Unavailable, TimeoutError):
                    async with asyncio.timeout(_LAST_WORD):
                        await self.close_writing()
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go at once; without an end that was written before, the other side sees that the stream broke."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(OSError):  # when the other end is gone already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who reads or writes
        self._let_go()

    async def _receive(self) -> bytes:
        self._use()
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, READ)
        except OSError as error:
            raise Unavailable(f"the stream broke: {error.strerror}") from error
        finally:
            self._users -= 1
            self._let_go()

    async def _send(self, data: bytes) -> None:
        """Half a piece would make nonsense of all that follows: whoever is stopped inside one breaks the stream."""
        self._use()
        is_whole = False
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
            is_whole = True
        except OSError as error:
            raise Unavailable(f"the stream broke: {error.strerror}") from error
        finally:
            self._users -= 1
            if not is_whole:
                self.abort()
            self._let_go()

    def _use(self) -> None:
        if self._is_closed:
            raise Unavailable("the stream is closed")
        self._users += 1

    def _let_go(self) -> None:
        if self._is_closed and self._users == 0:
            self._socket.close()


def stream_pair() -> tuple[SocketStream, socket.socket]:
    """Our end of a new stream and the socket for the network process. PeerUnreachable when there are no more files."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise PeerUnreachable(f"no socket for a stream: {error.strerror}") from error
    return SocketStream(ours), theirs


OnStream = Callable[[Opened, SocketStream], None]


class Hatch:
    """Hands the sockets of new streams over to the network process, and takes those that it brings."""

    def __init__(self, end: socket.socket, on_stream: OnStream) -> None:
        end.setblocking(False)
        self._socket, self._on_stream = end, on_stream
        self._handing = asyncio.Lock()
        asyncio.get_running_loop().add_reader(end, self._take)

    async def hand_over(self, command: Open, end: socket.socket) -> None:
        """Send `end` with what is to be opened; waits while the process is behind. Raises Unavailable."""
        async with self._handing:
            while True:
                try:
                    self._socket.sendmsg([packed(command)], enclosed(end))
                except BlockingIOError:
                    await asyncio.sleep(0.001)
                except OSError as error:
                    raise Unavailable("the network process is gone") from error
                else:
                    return

    def close(self) -> None:
        """Let go of the socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _take(self) -> None:
        try:
            data, beside, _, _ = self._socket.recvmsg(MOST, BESIDE, FLAGS)
        except BlockingIOError:
            return
        except OSError:
            data, beside = b"", []
        streams = [SocketStream(end) for end in sockets_in(beside)]
        if not data:
            asyncio.get_running_loop().remove_reader(self._socket)  # the link tells of the death
            return
        try:
            self._on_stream(OPENED.decode(data), streams[0])
        except (msgspec.DecodeError, IndexError):
            for stream in streams:
                stream.abort()
