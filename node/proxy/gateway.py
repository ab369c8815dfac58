"""The gateway: every request on every connection goes to the service of its own host name."""

import asyncio
import ssl
from typing import Final

import h11
import structlog

from market.errors import Unavailable
from node.proxy.exchange import CutOff, Exchange, Stale
from node.proxy.heads import RequestHead, parsed
from node.proxy.limits import ProxyLimits
from node.proxy.listener import Listener
from node.proxy.refusals import Refusal, answer_bytes
from node.proxy.routes import Routes
from node.proxy.upstreams import Upstreams
from node.proxy.wire import ClientGone, Wire

_log = structlog.get_logger("proxy")
_REPEATABLE: Final = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")


class Gateway:
    """A listening port for services; `start`, then `close`."""

    def __init__(self, routes: Routes, limits: ProxyLimits | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._routes, self._limits = routes, limits or ProxyLimits()
        self._listener = Listener(self._serve, self._limits, tls)
        self.upstreams = Upstreams(self._limits)

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ConfigError when it can not be had."""
        return self._listener.start(host, port)

    async def close(self) -> None:
        """Answer what is under way, within the grace time, and let go of everything."""
        await self._listener.close()
        await self.upstreams.close()

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return self._listener.connections

    async def _serve(self, wire: Wire) -> None:
        """One connection of a client, request after request."""
        try:
            patience = self._limits.head_within
            while await self._has_next(wire, patience) and await self._one(wire):
                patience = self._limits.keep_alive
        except (ClientGone, CutOff):
            wire.abort()

    async def _has_next(self, wire: Wire, patience: float) -> bool:
        """Whether another request begins; a gateway that closes waits for none."""
        try:
            async with asyncio.timeout(patience):
                return not self._listener.is_closing and await wire.begins()
        except TimeoutError:
            return False

    async def _one(self, wire: Wire) -> bool:
        """One request; whether the connection goes on."""
        head: RequestHead | None = None
        try:
            raw = await self._head(wire)
            head = parsed(raw, self._limits)
            return await self._answered(wire, raw, head)
        except Refusal as refusal:
            return await self._refuse(wire, head, refusal)

    async def _head(self, wire: Wire) -> bytes:
        try:
            async with asyncio.timeout(self._limits.head_within):
                return await wire.head(self._limits.head)
        except TimeoutError:
            raise Refusal("REQUEST_TIMEOUT", "the head of the request did not come in time") from None

    async def _refuse(self, wire: Wire, head: RequestHead | None, refusal: Refusal) -> bool:
        path = head.path if head else ""
        _log.debug("refused", reason=refusal.reason, host=head.host if head else "", path=path)
        await wire.part(answer_bytes(refusal, path, has_body=head is None or head.method != "HEAD"))
        return False

    async def _answered(self, wire: Wire, raw: bytes, head: RequestHead) -> bool:
        replicas = self._routes.find(head.host)
        if replicas is None:
            raise Refusal("UNKNOWN_HOST", f"no service is called {head.host}", host=head.host)
        server = self._server(raw)
        exchange = Exchange(wire, server, head, self._limits)
        for is_last in (False, True):
            upstream = await self.upstreams.take(replicas, fresh=is_last)
            try:
                await exchange.run(upstream.stream)
                return exchange.is_client_reusable
            except Stale:
                can_repeat = upstream.is_used and head.method in _REPEATABLE and not head.has_body
                if is_last or not can_repeat:
                    raise Refusal("UPSTREAM_CLOSED", "the service closed without an answer") from None
                exchange = Exchange(wire, self._server(raw), head, self._limits)
            except Unavailable as error:
                raise error if isinstance(error, ClientGone) else CutOff(error.message) from error
            finally:
                await self.upstreams.give_back(upstream, is_reusable=exchange.is_service_reusable)
        return False

    def _server(self, raw: bytes) -> h11.Connection:
        """The state of the client's connection, with its request read."""
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head)
        server.receive_data(raw)
        try:
            server.next_event()
        except h11.RemoteProtocolError as error:
            raise Refusal("BAD_REQUEST", str(error)) from error
        return server
