"""The connection of a client: bytes with a place to put some back, seen as a stream of bytes like all the others."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from market.errors import Unavailable
from node.proxy.heads import END
from node.proxy.refusals import Refusal

_RESET: Final = struct.pack("ii", 1, 0)
"""Linger for no time: closing throws away what was not sent and says so."""
_READ: Final = 128 * 1024
_LINGER: Final = 1.0
_LAST_BYTES: Final = 5.0
_MOST_LINGERING: Final = 1024 * 1024


class ClientGone(Unavailable):
    """The client has closed its connection, or it broke."""


class Wire:
    """One accepted connection; one reader and one writer at a time."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_secure: bool = False,
        accepted: socket.socket | None = None,
    ) -> None:
        self._reader, self._writer, self._accepted = reader, writer, accepted
        self._ahead = b""
        self.is_secure = is_secure
        place = writer.get_extra_info("peername")
        self.address = str(place[0]) if isinstance(place, tuple) else ""

    # --- a stream of bytes --------------------------------------------------------------------------------------

    async def read(self, most: int = _READ) -> bytes:
        """Some bytes, those put back first; b"" at the end. Raises ClientGone."""
        if self._ahead:
            data, self._ahead = self._ahead[:most], self._ahead[most:]
            return data
        try:
            return await self._reader.read(most)
        except OSError as error:
            raise ClientGone("the client's connection broke") from error

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. Raises ClientGone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise ClientGone("the client's connection broke") from error

    async def close_writing(self) -> None:
        """End the writing, where the connection knows such a thing; TLS does not, so there everything ends."""
        try:
            if self._writer.can_write_eof():
                self._writer.write_eof()
            else:
                self._writer.close()
        except (OSError, RuntimeError) as error:
            raise ClientGone("the client's connection broke") from error

    async def close(self) -> None:
        """Close; what was written is still sent, if the client takes it soon."""
        self._writer.close()
        try:
            async with asyncio.timeout(_LAST_BYTES):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed from here."""
        return self._writer.is_closing()

    def abort(self) -> None:
        """Cut by a reset, so that the client sees that something is missing."""
        if self._accepted is not None:
            with suppress(OSError):
                self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    # --- requests -----------------------------------------------------------------------------------------------

    def put_back(self, data: bytes) -> None:
        """Bytes that belong to what comes next."""
        self._ahead = data + self._ahead

    async def begins(self) -> bool:
        """Wait for the first byte of a request; False when the client has closed."""
        data = await self.read()
        self.put_back(data)
        return bool(data)

    async def head(self, limit: int) -> bytes:
        """Bytes up to the empty line and with it. Raises Refusal above `limit`, ClientGone."""
        data = bytearray()
        while True:
            seen = max(0, len(data) - len(END))
            data += await self._more()
            end = data.find(END, seen)
            if end > limit or (end < 0 and len(data) > limit):
                raise Refusal("HEAD_TOO_LARGE", f"a head may have {limit} bytes", limit=limit)
            if end >= 0:
                self.put_back(bytes(data[end + len(END) :]))
                return bytes(data[: end + len(END)])

    async def _more(self) -> bytes:
        data = await self.read()
        if not data:
            raise ClientGone("the client left inside a head")
        return data

    async def part(self, last: bytes) -> None:
        """Say a last word and close, without losing it to bytes that the client still sends."""
        try:
            async with asyncio.timeout(_LINGER):
                await self.write(last)
                await self.close_writing()
                left = _MOST_LINGERING
                while left > 0 and (data := await self.read()):
                    left -= len(data)
        except (ClientGone, TimeoutError):
            pass
        finally:
            await self.close()
