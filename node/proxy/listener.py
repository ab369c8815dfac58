"""A listening port: accepts up to its caps, speaks TLS where it has a certificate, and closes with a time of grace."""

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from market.errors import ConfigError
from node.proxy.limits import ProxyLimits
from node.proxy.wire import Wire

_log = structlog.get_logger("proxy")
_BACKLOG: Final = 2048
_BUFFER: Final = 256 * 1024
_PAUSE: Final = 0.1


class Listener:
    """Gives each connection to `serve` as a Wire; the connection is closed when that returns."""

    def __init__(
        self, serve: Callable[[Wire], Awaitable[None]], limits: ProxyLimits, tls: ssl.SSLContext | None = None
    ) -> None:
        self._serve, self._limits, self._tls = serve, limits, tls
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._inside: Counter[str] = Counter()
        self.is_closing = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._inside.total()

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which may be given as 0 for a free one. Raises ConfigError."""
        self._socket = _bound(host, port)
        self._accepting = asyncio.create_task(self._accept(self._socket))
        return int(self._socket.getsockname()[1])

    async def close(self) -> None:
        """Take nobody in any more, give those inside the grace time, then cut them."""
        self.is_closing = True
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=self._limits.grace)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, place = await loop.sock_accept(listening)
            except OSError as error:  # the client has left already, or there are no more files
                _log.warning("a connection was not accepted", why=error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            if self._has_room(str(place[0])):
                self._admit(accepted, str(place[0]))
            else:
                accepted.close()

    def _has_room(self, address: str) -> bool:
        limits = self._limits
        return self.connections < limits.connections and self._inside[address] < limits.connections_per_address

    def _admit(self, accepted: socket.socket, address: str) -> None:
        self._inside[address] += 1
        task = asyncio.create_task(self._live(accepted))
        self._serving.add(task)
        task.add_done_callback(lambda done: self._leave(done, address))

    def _leave(self, task: asyncio.Task[None], address: str) -> None:
        self._serving.discard(task)
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]
        if not task.cancelled() and task.exception() is not None:
            _log.error("a connection failed", exc_info=task.exception())

    async def _live(self, accepted: socket.socket) -> None:
        try:
            wire = await self._wire(accepted)
        except (OSError, TimeoutError):
            accepted.close()
            return
        try:
            await self._serve(wire)
            await wire.close()
        finally:
            if not wire.is_closed:
                wire.abort()

    async def _wire(self, accepted: socket.socket) -> Wire:
        """The connection behind its handshake; ssl.SSLError is an OSError."""
        accepted.setblocking(False)
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_BUFFER, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        patience = self._limits.handshake_within if self._tls else None
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, accepted, ssl=self._tls, ssl_handshake_timeout=patience
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return Wire(reader, writer, is_secure=self._tls is not None, accepted=accepted)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and above with this certificate chain. ConfigError names the file that is wrong."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no certificate from {certificate} with the key {key}: {error}") from error
    return context


def _bound(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise ConfigError(f"can not listen on {host}:{port}: {why}", host=host, port=port) from error
    return listening
