"""Frames on a libp2p stream: an unsigned varint of length, then the bytes, as every libp2p language writes them."""

from typing import Any

from libp2p.abc import INetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError

_MAX_VARINT = 4


class BadStream(Exception):
    """The peer broke the framing, or the stream ended inside a frame."""


class StreamEnded(Exception):
    """The peer closed the stream between two frames."""


class FrameReader:
    """Reads frames of at most `limit` bytes; takes from the stream whatever is there, never byte by byte.

    (A read costs a window update and an encrypted frame, so byte-wise varints take a third of the CPU.)
    """

    def __init__(self, stream: INetStream, limit: int) -> None:
        # Straight from the muxer: the layer above it takes two locks for every read.
        self._stream: Any = getattr(stream, "muxed_stream", stream)
        self._limit = limit
        self._buffer = bytearray()
        self._start = 0

    async def frame(self) -> bytes:
        """The next frame. Raises StreamEnded, BadStream, or StreamError when the stream is reset."""
        while True:
            head = self._head()
            if head is not None:
                begin, length = head
                return await self._body(begin, length)
            await self._fill(is_inside=len(self._buffer) > self._start)

    def ready(self) -> bytes | None:
        """A frame that has already come, or None."""
        head = self._head()
        if head is None or head[0] + head[1] > len(self._buffer):
            return None
        return self._cut(*head)

    def rest(self) -> bytes:
        """What came behind the last frame, for whoever goes on without frames."""
        return self._cut(self._start, len(self._buffer) - self._start)

    def _head(self) -> tuple[int, int] | None:
        """Where the body begins and how long it is; None when the varint is not complete yet."""
        length = 0
        for index in range(_MAX_VARINT):
            at = self._start + index
            if at >= len(self._buffer):
                return None
            byte = self._buffer[at]
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if length > self._limit:
                    raise BadStream(f"a frame of {length} bytes, at most {self._limit}")
                return at + 1, length
        raise BadStream("a length that does not end")

    async def _body(self, begin: int, length: int) -> bytes:
        offset = begin - self._start
        while len(self._buffer) - self._start < offset + length:
            await self._fill(is_inside=True)
        return self._cut(self._start + offset, length)

    def _cut(self, begin: int, length: int) -> bytes:
        body = bytes(memoryview(self._buffer)[begin : begin + length])
        self._start = begin + length
        if self._start == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        return body

    async def _fill(self, *, is_inside: bool) -> None:
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        try:
            data = await self._stream.read()
        except MuxedStreamEOF as error:
            raise (BadStream("ended inside a frame") if is_inside else StreamEnded()) from error
        except MuxedStreamError as error:
            raise BadStream(f"the stream broke: {error}") from error
        if not data:
            raise BadStream("ended inside a frame") if is_inside else StreamEnded
        self._buffer += data


def framed(data: bytes) -> bytes:
    """`data` with its length in front."""
    length, head = len(data), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + data
