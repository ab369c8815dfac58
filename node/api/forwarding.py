"""What an API process can not do itself it hands on to its node, through a Unix socket, as the client sent it.

The node checks the credential and counts the request; bodies stream both ways, and a WebSocket is carried along.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import httpx
import websockets.asyncio.client as websocket_client
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response

from market.errors import Unavailable
from node.api.errors import REQUEST_ID
from node.api.heads import FORWARDED_FOR

CONNECT_WITHIN: Final = 2.0
SILENT_FOR: Final = 90.0
"""Seconds that the node may say nothing: longer than any request waits."""
BROKEN: Final = 1006
UNSENDABLE: Final = {BROKEN: 1012, 1005: 1000}
"""What a connection that broke and a close without a code are to the client: neither may be sent as it is."""
_OF_CONNECTION: Final = (
    b"connection",
    b"keep-alive",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"proxy-authorization",
    b"expect",
)
_OWN: Final = (b"x-request-id", b"x-api-version", b"x-content-type-options", b"date", b"server")
"""What this process's own edge adds to every answer."""
_ABOUT_CLIENT: Final = (b"x-forwarded-", b"forwarded", b"origin", b"x-request-id", b"sec-websocket-")
"""What the node hears from this process alone; pages of other origins are this process's business."""
Headers = list[tuple[bytes, bytes]]


class NodeDoor:
    """The way to the node beside: its Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self.path, limits=limits),
            timeout=httpx.Timeout(SILENT_FOR, connect=CONNECT_WITHIN),
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.aclose()


class Forwarding:
    """ASGI middleware: requests whose handlers are in the table `is_needed` of the application's state go to `node`.

    While the node is away, those that need it are answered with 503, the others here as well as can be.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on; Unavailable when the node can not be reached."""
        state = scope["litestar_app"].state
        is_needed: bool | None = state.is_needed.get(scope["route_handler"].fn)
        if is_needed is None:
            await self._app(scope, receive, send)
            return
        is_socket = scope["type"] == ScopeType.WEBSOCKET
        try:
            await (_Talk(scope, receive, send) if is_socket else _Exchange(scope, receive, send)).run(state.node)
        except _Away as error:
            if is_needed and is_socket:
                await _refuse_socket(send, 503, [(b"retry-after", b"5")], error.message.encode())
            elif is_needed:
                raise
            else:
                await self._app(scope, receive, send)


class _Away(Unavailable):
    """Nothing has reached the node, and nothing was answered yet."""


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._is_read = asyncio.Event()

    async def run(self, node: NodeDoor) -> None:
        """To the end of the answer, or until the client goes away."""
        answering = asyncio.ensure_future(self._answer(node.client))
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, client: httpx.AsyncClient) -> None:
        answer = await self._asked(client)
        async with aclosing(answer):
            headers = _without(answer.headers.raw, (*_OF_CONNECTION, *_OWN))
            await self._send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for chunk in answer.aiter_raw():
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _asked(self, client: httpx.AsyncClient) -> httpx.Response:
        names = dict(self._scope["headers"])
        has_body = b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"
        request = client.build_request(
            self._scope["method"],
            httpx.URL("http://node", raw_path=_target(self._scope)),
            headers=_told(self._scope),
            content=self._body() if has_body else None,
        )
        if not has_body:
            self._is_read.set()
        try:
            return await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Away("the node is away: what only it can do has to wait", retry_after=5) from error
        except httpx.TransportError as error:
            said = "the node went away before it answered: whether it did this is not known"
            raise Unavailable(said, retry_after=5) from error

    async def _body(self) -> AsyncIterator[bytes]:
        has_more = True
        while has_more:
            message: Any = await self._receive()
            if message["type"] == "http.disconnect":
                raise httpx.WriteError("the client went away")
            has_more = message.get("more_body", False)
            yield message.get("body", b"")
        self._is_read.set()

    async def _left(self) -> None:
        """Until the client goes away."""
        await self._is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Talk:
    """One WebSocket."""

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send

    async def run(self, node: NodeDoor) -> None:
        """To the end of the talk, whoever ends it."""
        try:
            upstream = await self._opened(node)
        except InvalidStatus as refusal:
            await self._refused(refusal.response)
            return
        except (OSError, TimeoutError, WebSocketException) as error:
            raise _Away("the node is away: what only it can do has to wait", retry_after=5) from error
        try:
            await self._receive()  # the client's wish to connect
            await self._send({"type": "websocket.accept", "subprotocol": upstream.subprotocol, "headers": []})
            await self._carry(upstream)
        finally:
            await upstream.close()

    async def _refused(self, answer: Response) -> None:
        headers = [(name.encode().lower(), value.encode()) for name, value in answer.headers.raw_items()]
        await _refuse_socket(self._send, answer.status_code, headers, bytes(answer.body or b""))

    async def _opened(self, node: NodeDoor) -> websocket_client.ClientConnection:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in _told(self._scope)]
        return await websocket_client.unix_connect(
            node.path,
            "ws://node" + _target(self._scope).decode("latin-1"),
            additional_headers=[pair for pair in headers if pair[0] != "host"],
            subprotocols=self._scope.get("subprotocols") or None,
            compression=None,
            max_size=None,
            open_timeout=CONNECT_WITHIN,
            ping_interval=None,
            user_agent_header=None,
        )

    async def _carry(self, upstream: websocket_client.ClientConnection) -> None:
        tasks = {asyncio.ensure_future(self._up(upstream)), asyncio.ensure_future(self._down(upstream))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _up(self, upstream: websocket_client.ClientConnection) -> None:
        while True:
            message: Any = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            await upstream.send(data if text is None else text)

    async def _down(self, upstream: websocket_client.ClientConnection) -> None:
        try:
            async for said in upstream:
                key = "text" if isinstance(said, str) else "bytes"
                message: Any = {"type": "websocket.send", key: said}
                await self._send(message)
        except ConnectionClosed:
            pass
        code = upstream.close_code or BROKEN
        await self._send(
            {"type": "websocket.close", "code": UNSENDABLE.get(code, code), "reason": upstream.close_reason or ""}
        )


async def _refuse_socket(send: Any, status: int, headers: Headers, body: bytes) -> None:
    """Answer the wish for a WebSocket as any other request."""
    kept = [*_without(headers, (*_OF_CONNECTION, b"date", b"server", b"content-length"))]
    kept.append((b"content-length", b"%d" % len(body)))
    await send({"type": "websocket.http.response.start", "status": status, "headers": kept})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _told(scope: Any) -> Headers:
    """The client's headers, and who it is."""
    client = scope.get("client")
    own = [(FORWARDED_FOR, client[0].encode("latin-1") if client else b"")]
    if REQUEST_ID in scope:
        own.append((b"x-request-id", scope[REQUEST_ID].encode()))
    return [*_without(scope["headers"], (*_OF_CONNECTION, *_ABOUT_CLIENT)), *own]


def _without(headers: Iterable[tuple[bytes, bytes]], left_out: tuple[bytes, ...]) -> Headers:
    """The headers but these; a name that ends in "-" is the beginning of several."""
    families = tuple(name for name in left_out if name.endswith(b"-"))
    lower = [(name.lower(), value) for name, value in headers]
    return [(name, value) for name, value in lower if name not in left_out and not name.startswith(families)]


def _target(scope: Any) -> bytes:
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path
