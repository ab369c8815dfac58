"""A small HTTP/1.1 client over one kept connection: next to nothing of its own in what it measures."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec


class Line:
    """One connection to a node's API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._common = f"host: {host}\r\nx-api-key: {key}\r\n"

    @classmethod
    async def open(cls, url: str, key: str) -> "Line":
        """Connect to the node at `url`."""
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**24)
        return cls(reader, writer, place.netloc, key)

    async def get(self, path: str) -> Any:
        """The JSON behind a path."""
        return msgspec.json.decode(await self.send("GET", path))

    async def post(self, path: str, body: bytes) -> Any:
        """The JSON that answers a JSON body."""
        return msgspec.json.decode(await self.send("POST", path, body))

    async def send(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of a 2xx answer; RuntimeError for any other."""
        head = f"{method} {path} HTTP/1.1\r\n{self._common}"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        head_bytes = await self._reader.readuntil(b"\r\n\r\n")
        answer = await self._reader.readexactly(_length(head_bytes))
        if head_bytes[9:10] != b"2":
            raise RuntimeError(f"{method} {path}: {head_bytes[9:12].decode()} {answer[:300]!r}")
        return answer

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at : head.index(b"\r", at)])
