"""The outermost layer: request ids, HEAD, size of bodies, both casings in queries, common headers, metrics.

It wraps the framework, because requests without a route never reach the middleware inside it.
"""

import asyncio
import random
import re
import time
from typing import Any, Final

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.routes import BaseRoute
from litestar.types import Message, Receive, Scope, Send

from node.api.auth import TOLD, profile_of
from node.api.errors import MEDIA_TYPE, PROFILE_OF, REQUEST_ID, RequestTimeout, problem_body
from node.api.heads import FORWARDED_FOR, WHOLE
from node.api.limits import headers_of
from node.api.metrics import Metrics
from node.api.streams import LEAVE, Closing
from node.api.views import ErrorBody
from node.version import API_VERSION

_ID: Final = re.compile(rb"^[A-Za-z0-9._:-]{1,128}$")
LOGS: Final = "/logs"
"""How the paths end whose answers are lists, or streams that go on."""
_SNAKE: Final = re.compile(rb"(?:^|&)[^=&]*_[^=&]*")
_COMMON: Final = ((b"x-api-version", API_VERSION.encode()), (b"x-content-type-options", b"nosniff"))
JSON_LIMIT: Final = 8 * 2**20
"""The largest JSON body; uploads have the limit of the settings."""
SIGN_IN_LIMIT: Final = 64 * 1024
"""The largest body where somebody signs in: anybody may send it."""
SIGN_IN: Final = "/v1/auth/"
"""How those paths begin."""
SLOWEST: Final = 1024
"""Bytes a second that a body comes with, once it has taken the time of one piece; our own slowness does not count."""
UPLOADS: Final = "/files"
"""How the paths end whose bodies are files."""


class Edge:
    """The ASGI application of a node: the framework's, seen through this layer."""

    def __init__(self, app: Litestar, metrics: Metrics, body_limit: int, body_within: float) -> None:
        self.app = app
        self.metrics = metrics
        self._body_limit = body_limit
        self._body_within = body_within
        self._allowed = {route.path_format: _methods(route) for route in app.routes}

    @property
    def closing(self) -> Closing:
        """Set it to end all open streams."""
        closing: Closing = self.app.state.closing
        return closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan and sockets pass through."""
        _name_client(scope)
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._allowed, self._body_within)
        try:
            await self._answer(exchange)
        finally:
            exchange.scope.pop(LEAVE, _nothing)()
            self.metrics.observe(exchange.method, exchange.route(), exchange.status, exchange.seconds())

    async def _answer(self, exchange: "_Exchange") -> None:
        scope = exchange.scope
        limit = self._limit_on(scope["path"])
        scope[PROFILE_OF] = self._profile_of
        if exchange.announced_size() > limit:
            await exchange.refuse(limit, self._profile_of(scope), self.app.cors_config)
        else:
            await self.app(scope, exchange.receive, exchange.send)

    def _profile_of(self, scope: Scope) -> str:
        return profile_of(ASGIConnection(scope), self.app.state.services.people.callers)

    def _limit_on(self, path: str) -> int:
        if path.endswith(UPLOADS):
            return self._body_limit
        return min(SIGN_IN_LIMIT if path.startswith(SIGN_IN) else JSON_LIMIT, self._body_limit)


class _Exchange:
    """One request and its response on their way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, allowed: dict[str, bytes], within: float) -> None:
        self.method = str(scope.get("method"))
        self.status = 0
        self.scope: Any = scope
        self._allowed = allowed
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self._is_head = self.method == "HEAD"
        self._headers = dict(scope["headers"])
        self._is_over = False
        self._body = _Patience(scope, within)
        self._prepare()

    def announced_size(self) -> int:
        """The Content-Length, 0 when there is none."""
        length = self._headers.get(b"content-length", b"0")
        return int(length[:20]) if length.isdigit() else 0  # the first digits of a longer one are too much already

    async def refuse(self, limit: int, profile: str, origins: CORSConfig | None) -> None:
        """Answer 413 without reading the body; pages of `origins` may read the answer like every other."""
        error = ErrorBody(
            code="PAYLOAD_TOO_LARGE", message=f"a body may have {limit} bytes here", details={"limit": limit}
        )
        body = problem_body(413, error, self.scope["path"], self.scope[REQUEST_ID], profile)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *_readable(origins, self._headers.get(b"origin", b"").decode("latin-1")),
        ]
        await self.send({"type": "http.response.start", "status": 413, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def receive(self) -> Any:
        """What the client sends; after the answer to HEAD it counts as gone, so that streams end.

        Raises RequestTimeout when the next piece of its body does not come.
        """
        return {"type": "http.disconnect"} if self._is_over else await self._body.next(self._receive)

    async def send(self, message: Message) -> None:
        """Pass the answer on: headers added, the body of HEAD left out."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*self._kept(message["headers"]), *self._own_headers()]
            await self._send(message)
            if self._is_head:
                self._is_over = True
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not self._is_head:
            await self._send(message)

    def route(self) -> str:
        """The template of the route, "" when there was none."""
        return str(self.scope.get("path_template") or "")

    def seconds(self) -> float:
        """How long it took."""
        return time.perf_counter() - self._began

    def _prepare(self) -> None:
        given = self._headers.get(b"x-request-id", b"")
        self.scope[REQUEST_ID] = given.decode() if _ID.match(given) else _new_id()
        if self._is_head:  # in a copy: the server must still know that the answer has no body
            self.scope = {**self.scope, "method": "GET"}
        if self.scope["path"].endswith(LOGS) and self._asks_for_events():
            kept = [(name, value) for name, value in self.scope["headers"] if name != b"accept-encoding"]
            self.scope["headers"] = kept  # what is compressed comes when its block is full
        if b"_" in self.scope["query_string"]:
            self.scope["query_string"] = _camel_names(self.scope["query_string"])

    def _asks_for_events(self) -> bool:
        return b"follow=" in self.scope["query_string"] or b"text/event-stream" in self._headers.get(b"accept", b"")

    def _kept(self, headers: Any) -> Any:
        """The headers of the answer; to OPTIONS the framework names the first handler of a path alone."""
        allowed = self._allowed.get(self.route()) if self.method == "OPTIONS" else None
        if allowed is None:
            return headers
        return [*((name, value) for name, value in headers if name.lower() != b"allow"), (b"allow", allowed)]

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        told = self.scope.get(TOLD)
        return [(b"x-request-id", self.scope[REQUEST_ID].encode()), *_COMMON, *(headers_of(*told) if told else ())]


class _Patience:
    """Waits for the pieces of one body: so many seconds for each, and for all of them as long as SLOWEST takes.

    What has come already needs no clock, which costs more than all else here.
    """

    def __init__(self, scope: Any, within: float) -> None:
        self._scope = scope
        self._within = within
        self._left = within
        self._has_more = True

    async def next(self, receive: Receive) -> Any:
        """The next message; behind the body, where only the client's leaving is waited for, that takes any time."""
        if not self._has_more or WHOLE in self._scope:
            return await receive()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(min(self._left, self._within)):
                message: Any = await receive()
        except TimeoutError:
            raise RequestTimeout("the body did not come in time", seconds=self._within) from None
        self._has_more = message.get("more_body", False)
        self._left += len(message.get("body", b"")) / SLOWEST - (time.perf_counter() - began)
        return message


def _new_id() -> str:
    """A name and no secret: it need not cost a look into the kernel's randomness."""
    return f"req_{random.getrandbits(64):016x}"


def _nothing() -> None:
    """Most requests are no streams."""


def _name_client(scope: Any) -> None:
    """Processes of our own come through a Unix socket, and say for whom they ask; nobody else is believed."""
    server = scope.get("server")
    if server and str(server[0]).startswith("/"):
        address = dict(scope["headers"]).get(FORWARDED_FOR, b"")
        scope["client"] = (address.decode("latin-1"), 0)


def _readable(origins: CORSConfig | None, origin: str) -> list[tuple[bytes, bytes]]:
    """What lets a page of an allowed origin read an answer that the framework, which says it of its own, never sees."""
    if origins is None or not origin or not origins.is_origin_allowed(origin):
        return []
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Vary": "Origin",
        "Access-Control-Allow-Headers": ", ".join(sorted(set(origins.allow_headers))),
        "Access-Control-Allow-Methods": ", ".join(sorted(set(origins.allow_methods))),
        **origins.simple_headers,
    }
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def _methods(route: BaseRoute) -> bytes:
    methods = set(getattr(route, "methods", ()))
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))).encode()


def _camel_names(query: bytes) -> bytes:
    """The query with snake_case names in camelCase; values stay as they are."""
    return _SNAKE.sub(lambda match: re.sub(rb"_([a-z])", lambda found: found[1].upper(), match[0]), query)
