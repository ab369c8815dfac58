"""The embedded HTTP server: uvicorn in the node's own loop, stopped by cancelling."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from market.errors import ConfigError
from node.api.edge import Edge
from node.api.heads import BoundedHeads
from node.api.places import USUAL, Places, Room

GRACE: Final = 3
"""Seconds that running requests have to end when the server stops."""
BACKLOG: Final = 2048
MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one message on a WebSocket."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the node decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield


async def serve(
    app: Edge,
    host: str,
    port: int,
    on_bound: Callable[[str, int], None],
    *,
    door: Path | None = None,
    is_shared: bool = False,
    room: Room = USUAL,
) -> None:
    """Serve until cancelled; `on_bound` learns host and port (0 took a free one) before the first request.

    `door` is a Unix socket for processes of our own, which say for whom they ask. A port that `is_shared` may have
    several processes, among which the kernel shares out connections; `room` is for those of this process. Only its
    proxies are believed for whom they ask: anybody could choose the address that limits and log see. When cancelled,
    open streams are ended and running requests get GRACE seconds. Raises ConfigError when an address can not be had.
    """
    listener = bind(host, port, is_shared=is_shared)
    listeners = [listener, *([bind_door(door)] if door else [])]
    server = _Server(_config(app, room))
    running = asyncio.create_task(server.serve(sockets=listeners), name="http")
    try:
        on_bound(host, listener.getsockname()[1])
        await asyncio.shield(running)
    finally:
        app.closing.set()
        server.should_exit = True
        await asyncio.gather(running, return_exceptions=True)
        for each in listeners:
            each.close()


def bind_door(path: Path) -> socket.socket:
    """A listening Unix socket for this user alone; one that an earlier life left is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(f"can not listen on {path}: {error.strerror or error}", path=str(path)) from error
    return listener


def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """A listening socket; ConfigError says in one sentence why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, for without it asyncio leaves Nagle's algorithm on, and each answer on a kept connection waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(_sentence(error, host, port), host=host, port=port) from error
    return listener


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: set api.port to another one, or to 0 for a free one"
    return f"can not listen on {host}:{port}: {error.strerror or error}"


def _config(app: Edge, room: Room) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=partial(BoundedHeads, Places(room)),  # type: ignore[arg-type]  # it is called, no more
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(room.proxies),
        forwarded_allow_ips=list(room.proxies),
        timeout_graceful_shutdown=GRACE,
        backlog=BACKLOG,
    )
