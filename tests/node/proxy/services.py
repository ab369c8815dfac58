"""Services behind the gateway, replicas that lead to them, and a client that sees every byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import h11
import msgspec

from market.errors import Unavailable
from node.ports import ByteStream
from node.proxy.gateway import Gateway
from node.proxy.limits import ProxyLimits
from node.proxy.wire import Wire
from tests.streams import MemoryStream, memory_streams

Serve = Callable[[ByteStream], Awaitable[None]]
HOST = "demo.localhost"


class FakeReplica:
    """A replica in memory: each connection is a task that runs `serve` on its other end."""

    def __init__(self, serve: Serve, id: str = "one") -> None:
        self._serve = serve
        self.id = id
        self.opened = 0
        self.streams: list[MemoryStream] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.refusal: Exception | None = None

    async def open(self, within: float) -> ByteStream:
        if self.refusal is not None:
            raise self.refusal
        self.opened += 1
        ours, theirs = memory_streams()
        self.streams.append(theirs)
        self.tasks.append(asyncio.create_task(self._live(theirs)))
        return ours

    async def _live(self, stream: MemoryStream) -> None:
        with contextlib.suppress(Unavailable):
            await self._serve(stream)
        await stream.close()


class TcpReplica:
    """A replica at a port of this machine."""

    def __init__(self, port: int, id: str = "tcp") -> None:
        self._port = port
        self.id = id

    async def open(self, within: float) -> ByteStream:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise Unavailable("no connection") from error
        return Wire(reader, writer, is_secure=False)


class FakeRoutes:
    def __init__(self, hosts: dict[str, Sequence[Any]]) -> None:
        self.hosts = hosts

    def find(self, host: str) -> Sequence[Any] | None:
        return self.hosts.get(host)


@contextlib.asynccontextmanager
async def a_gateway(
    *replicas: Any, hosts: dict[str, Sequence[Any]] | None = None, tls: Any = None, **limits: Any
) -> AsyncIterator[tuple[int, Gateway]]:
    """A gateway on a free port, whose demo host leads to `replicas`."""
    gateway = Gateway(FakeRoutes(hosts or {HOST: replicas}), ProxyLimits(**({"grace": 0.2} | limits)), tls)
    port = gateway.start("127.0.0.1", 0)
    try:
        yield port, gateway
    finally:
        await gateway.close()
        for replica in replicas:
            for task in getattr(replica, "tasks", ()):
                task.cancel()
            await asyncio.gather(*getattr(replica, "tasks", ()), return_exceptions=True)


# --- a service that speaks HTTP -------------------------------------------------------------------------------------


class Seen(msgspec.Struct):
    """A request as the service got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> list[str]:
        return [value for other, value in self.headers if other == name]


async def mirror(stream: ByteStream) -> None:
    """Answer every request with what came, as JSON."""
    connection = h11.Connection(h11.SERVER)
    while True:
        request, body = await next_request(connection, stream)
        if request is None:
            return
        seen = Seen(
            request.method.decode(),
            request.target.decode(),
            [(name.decode(), value.decode("latin-1")) for name, value in request.headers],
            body.decode("latin-1") if len(body) < 1000 else f"{len(body)} bytes",
        )
        await say(connection, stream, msgspec.json.encode(seen))
        if connection.our_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def next_request(connection: h11.Connection, stream: ByteStream) -> tuple[h11.Request | None, bytes]:
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await stream.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            return None, b""


async def say(connection: h11.Connection, stream: ByteStream, body: bytes) -> None:
    response = h11.Response(status_code=200, headers=[("content-length", str(len(body))), ("server", "mirror")])
    data = (connection.send(response) or b"") + (connection.send(h11.Data(data=body)) or b"")
    await stream.write(data + (connection.send(h11.EndOfMessage()) or b""))


async def head_of(stream: ByteStream) -> bytes:
    """The head of a request, for services that answer by hand."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.read()
        if not more:
            raise Unavailable("no request came")
        data += more
    return data


# --- a client -------------------------------------------------------------------------------------------------------


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def seen(self) -> Seen:
        return msgspec.json.decode(self.body, type=Seen)

    def reason(self) -> str:
        code: str = msgspec.json.decode(self.body)["error"]["code"]
        return code


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.rest = b""

    async def ask(self, method: str = "GET", target: str = "/", host: str = HOST, **more: Any) -> Reply:
        self.writer.write(a_request(method, target, host, **more))
        await self.writer.drain()
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        """The next answer; early ones are skipped."""
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        if self.rest:
            connection.receive_data(self.rest)
        response, body = None, bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await self.reader.read(65_536))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                self.rest = connection.trailing_data[0]
                headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
                return Reply(response.status_code, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionError("closed without an answer")


def a_request(
    method: str = "GET", target: str = "/", host: str = HOST, headers: Sequence[str] = (), body: bytes = b""
) -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, *length]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def a_client(port: int, **options: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def run(body: Awaitable[None], seconds: float = 30) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await body

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
