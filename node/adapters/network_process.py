"""Starts the network process and speaks frames with it; knows nothing of what they mean."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

import node
from node.adapters.network_streams import Hatch, OnStream
from node.p2p.frames import EVENTS, AnyCommand, AnyEvent, BadFrame, Unframer, frame
from node.p2p.passing import hatch_pair

_ROOT: Final = str(Path(node.__file__).parents[1])
_HIGH_WATER: Final = 16 * 1024 * 1024


class Link(asyncio.Protocol):
    """The node's end of the socket: `on_event` for each event, `lost` is set when the other end is gone."""

    def __init__(self, on_event: Callable[[AnyEvent], None]) -> None:
        self._on_event = on_event
        self._unframer = Unframer()
        self._pending: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                self._on_event(EVENTS.decode(body))
        except (BadFrame, msgspec.DecodeError):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def send(self, command: AnyCommand) -> None:
        """Write a command; those of one turn of the loop leave in one write."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending.append(frame(command))

    def abort(self) -> None:
        """Cut the socket; `lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        data, self._pending = b"".join(self._pending), []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class Process:
    """One life of `python -m node.p2p`."""

    def __init__(self, link: Link, hatch: Hatch, child: subprocess.Popen[bytes]) -> None:
        self.link, self.hatch, self._child = link, hatch, child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @classmethod
    async def spawn(cls, on_event: Callable[[AnyEvent], None], on_stream: OnStream) -> "Process":
        """Start the process with a socket as its standard input; its environment holds no secret of the node's."""
        ours, theirs = socket.socketpair()
        inner, outer = hatch_pair()
        with theirs, outer:
            child = _start(theirs, outer)
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: Link(on_event), sock=ours)
        return cls(link, Hatch(inner, on_stream), child)

    async def end(self, patience: float = 0.0) -> None:
        """Wait `patience` seconds for the process to end by itself, then kill it."""
        try:
            async with asyncio.timeout(patience):
                await self.link.lost.wait()
        except TimeoutError:
            pass
        self.link.abort()
        self.hatch.close()
        self._child.kill()
        await asyncio.to_thread(self._child.wait)


def _start(link: socket.socket, hatch: socket.socket) -> subprocess.Popen[bytes]:
    number = hatch.fileno()
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "node.p2p", str(number)],
        stdin=link.fileno(),
        stdout=subprocess.DEVNULL,
        pass_fds=(number,),
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return kept | {"PYTHONPATH": _ROOT, "MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}
