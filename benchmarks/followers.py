"""`python -m benchmarks.followers URL KEY CLIENTS EVENTS`: follow an account with so many clients, as SSE.

Prints an empty line once all are connected, and when each has heard EVENTS events, how late each came, in ms.
"""

import asyncio
import re
import sys
import time
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import uvloop

_TIMESTAMP: Final = re.compile(rb'"timestamp":"([^"]+)"')


class Follower(asyncio.Protocol):
    """One client; it notes when each piece of the stream came, and looks into it afterwards."""

    def __init__(self, request: bytes, count: int) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.late: list[float] = []
        self._request = request
        self._count = count
        self._left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.connected.done() and b"retry:" in data:
            self.connected.set_result(None)
        whole, end, left = (self._left + data).rpartition(b"\n\n")
        self._left = left
        self.late += [(now - _seconds(text)) * 1000 for text in _TIMESTAMP.findall(whole + end)]
        if len(self.late) >= self._count and not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        error = exc or RuntimeError("the server ended the stream")
        for waited in (self.connected, self.done):
            if not waited.done():
                waited.set_exception(error)


def _seconds(timestamp: bytes) -> float:
    return datetime.fromisoformat(timestamp.decode()).timestamp()


async def main(url: str, key: str, clients: int, count: int) -> None:
    """Connect all, then listen."""
    place = urlsplit(url)
    head = f"GET /v1/events HTTP/1.1\r\nhost: {place.netloc}\r\nx-api-key: {key}\r\naccept: text/event-stream\r\n\r\n"
    connect = asyncio.get_running_loop().create_connection
    made = [
        (await connect(lambda: Follower(head.encode(), count), place.hostname, place.port))[1] for _ in range(clients)
    ]
    await asyncio.gather(*(follower.connected for follower in made))
    print(flush=True)
    await asyncio.gather(*(follower.done for follower in made))
    print(msgspec.json.encode([late for follower in made for late in follower.late[:count]]).decode())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
