"""Streams of bytes in memory: two ends, little room between them."""

import asyncio

from market.errors import Unavailable

ROOM = 64 * 1024


class _Way:
    """One direction; a writer waits while there is no room."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_ended = False
        self.is_broken = False
        self.news = asyncio.Event()

    async def change(self) -> None:
        self.news = asyncio.Event()
        await self.news.wait()


class MemoryStream:
    """One end; `abort` breaks the stream, as the death of a process would."""

    def __init__(self, to_me: _Way, from_me: _Way) -> None:
        self._in, self._out = to_me, from_me
        self.is_closed = False

    async def read(self, most: int = 65_536) -> bytes:
        while not self._in.data:
            if self._in.has_ended:
                return b""
            if self._in.is_broken or self.is_closed:
                raise Unavailable("the stream broke")
            await self._in.change()
        data = bytes(self._in.data[:most])
        del self._in.data[:most]
        self._in.news.set()
        return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), ROOM):
            while len(self._out.data) >= ROOM and not self._out.is_broken:
                await self._out.change()
            if self._out.is_broken or self._out.has_ended:
                raise Unavailable("the stream broke")
            self._out.data += data[start : start + ROOM]
            self._out.news.set()

    async def close_writing(self) -> None:
        self._out.has_ended = True
        self._out.news.set()

    async def close(self) -> None:
        if not self._out.is_broken:
            await self.close_writing()
        self.abort()

    def abort(self) -> None:
        self.is_closed = True
        for way in (self._in, self._out):
            way.is_broken = True
            way.news.set()


def memory_streams() -> tuple[MemoryStream, MemoryStream]:
    """Both ends of a stream."""
    one, other = _Way(), _Way()
    return MemoryStream(one, other), MemoryStream(other, one)
