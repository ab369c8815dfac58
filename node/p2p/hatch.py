"""The network process's end of the second socket to the node: each message on it brings the socket of one stream."""

import socket
from collections.abc import AsyncIterator

import trio

from node.p2p.frames import OPENS, Open, Opened, packed
from node.p2p.passing import BESIDE, FLAGS, MOST, enclosed, sockets_in


class Hatch:
    """Sockets in, sockets out; the message says what the stream is about."""

    def __init__(self, socket: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(socket)

    async def opens(self) -> AsyncIterator[tuple[Open, socket.socket]]:
        """What the node wants opened, with the socket for it, until the node is gone."""
        while True:
            data, beside, _, _ = await self._socket.recvmsg(MOST, BESIDE, FLAGS)
            if not data:
                return
            yield OPENS.decode(data), sockets_in(beside)[0]

    async def announce(self, opened: Opened) -> trio.SocketStream:
        """Tell the node of a peer's stream; returns our end of its socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._socket.sendmsg([packed(opened)], enclosed(theirs))
            except BaseException:
                ours.close()
                raise
        return to_stream(ours)


def to_stream(end: socket.socket) -> trio.SocketStream:
    """The socket, for trio."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))
