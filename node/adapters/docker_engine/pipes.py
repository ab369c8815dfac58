"""A connected socket as the node's byte stream."""

import asyncio
import contextlib
import socket
from typing import Final

from market.errors import Unavailable

BUFFER: Final = 256 * 1024
"""Bytes that wait for a slow reader at most; then the other side has to wait."""


class SocketStream:
    """`ByteStream` over a connected TCP socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> "SocketStream":
        """A stream over `sock`, which it closes with itself."""
        try:
            return cls(*await asyncio.open_connection(sock=sock, limit=BUFFER))
        except BaseException:
            sock.close()
            raise

    async def read(self, most: int = 65_536) -> bytes:
        """Some bytes, at most `most`; b"" at the end."""
        try:
            return await self._reader.read(most)
        except OSError as error:
            raise Unavailable(f"the connection broke: {error}") from error

    async def write(self, data: bytes) -> None:
        """Send all of `data`; waits while the other side does not read."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:  # RuntimeError: a write after the own end
            raise Unavailable(f"the connection broke: {error}") from error

    async def close_writing(self) -> None:
        """Say that nothing more will be written."""
        try:
            if not self._writer.is_closing():
                self._writer.write_eof()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"the connection broke: {error}") from error

    async def close(self) -> None:
        """Let go of both directions."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
