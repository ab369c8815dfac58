"""`python -m benchmarks.load URL KEY CLIENTS SECONDS WHAT`: asks as fast as it is answered; prints a `Load`.

Raw connections with next to nothing between an answer and the next request, so that the server is what is measured.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.agreement import BODY
from benchmarks.children import Child
from benchmarks.filled import JOBS, job_id
from benchmarks.goals import percentile

CLIENTS: Final = 32


class Load(msgspec.Struct, frozen=True):
    """Answers a second, and the 50th and 99th percentile of their times in ms."""

    rate: float
    p50: float
    p99: float


async def loaded(child: Child, what: str, seconds: float) -> Load:
    """What a node answers to CLIENTS connections of a process of their own; `what` is of REQUESTS."""
    arguments = (child.hello.url, child.hello.key, str(CLIENTS), str(seconds), what)
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.load", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await load.communicate()
    if load.returncode:
        raise RuntimeError("the load ended with an error; its words are on standard error")
    return msgspec.json.decode(said, type=Load)


def _get(path: str, common: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{common}\r\n".encode()


def _post(path: str, common: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\n{common}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


REQUESTS: Final[dict[str, Callable[[str], bytes]]] = {
    "hello": lambda common: _get("/hello", common),
    "post": lambda common: _post("/v1/jobs", common, BODY),
    "job": lambda common: _get(f"/v1/jobs/{job_id(random.randrange(JOBS))}", common),
    "jobs": lambda common: _get("/v1/jobs", common),
}
"""What can be asked, each with the headers that all have."""


class Client(asyncio.Protocol):
    """One connection: the next request leaves when the answer to the last one is whole; `done` when the time is up."""

    def __init__(self, request: Callable[[], bytes], until: float, times: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._until = until
        self._times = times
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        now = time.perf_counter()
        self._times.append(now - self._sent)
        if head[9:10] != b"2":
            self._end(RuntimeError(f"{head[9:12].decode()} {body[:300]!r}"))
        elif now >= self._until:
            self._end(None)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or RuntimeError("the server closed the connection"))

    def _send(self) -> None:
        self._got, self._sent = b"", time.perf_counter()
        self._transport.write(self._request())

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
            self._transport.close()


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at:].partition(b"\r")[0])


async def main(url: str, key: str, clients: int, seconds: float, what: str) -> None:
    """Load the server for so many seconds."""
    place, times = urlsplit(url), list[float]()
    common = f"host: {place.netloc}\r\nx-api-key: {key}\r\n"
    begun = time.perf_counter()
    connect = asyncio.get_running_loop().create_connection
    made = [
        await connect(
            lambda: Client(lambda: REQUESTS[what](common), begun + seconds, times), place.hostname, place.port
        )
        for _ in range(clients)
    ]
    await asyncio.gather(*(client.done for _, client in made))
    rate = len(times) / (time.perf_counter() - begun)
    found = Load(rate, percentile(times, 0.5) * 1000, percentile(times, 0.99) * 1000)
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]))
