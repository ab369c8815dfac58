"""Server-sent events: numbered frames, a heartbeat in silence, and an end when the server stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec
from litestar.response import Stream

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Closing(asyncio.Event):
    """Set once, when the server stops."""


class Frame:
    """One event: `id` is what a client resumes after (Last-Event-ID), `data` anything that is JSON."""

    __slots__ = ("data", "event", "id")

    def __init__(self, event: str, data: Any, id: int | None = None) -> None:
        self.event = event
        self.data = data
        self.id = id

    def encoded(self) -> bytes:
        """The frame on the wire; JSON has no line breaks of its own."""
        head = b"" if self.id is None else b"id: %d\n" % self.id
        return head + b"event: %s\ndata: %s\n\n" % (self.event.encode(), _encode(self.data))


def event_stream(frames: AsyncIterator[Frame], closing: Closing, heartbeat: float = HEARTBEAT) -> Stream:
    """The response that sends `frames` as they come."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Stream(_wire(frames, closing, heartbeat), media_type="text/event-stream", headers=headers)


async def _wire(frames: AsyncIterator[Frame], closing: Closing, heartbeat: float) -> AsyncIterator[bytes]:
    """Bytes of the stream; `frames` is closed however this ends."""
    stop: asyncio.Future[Any] = asyncio.ensure_future(closing.wait())
    turn: asyncio.Future[Any] | None = None
    yield b"retry: 1000\n\n"
    try:
        while True:
            turn = turn or asyncio.ensure_future(_next(frames))
            done, _ = await asyncio.wait({turn, stop}, timeout=heartbeat, return_when=asyncio.FIRST_COMPLETED)
            if turn in done:
                yield turn.result().encoded()
                turn = None
            elif stop in done:
                yield Frame("closing", {"reason": "the node stops; resume with Last-Event-ID"}).encoded()
                return
            else:
                yield b": still here\n\n"
    except StopAsyncIteration:
        return
    finally:
        await _end(frames, [stop, *([turn] if turn else [])])


async def _next(frames: AsyncIterator[Frame]) -> Frame:
    return await anext(frames)


async def _end(frames: AsyncIterator[Frame], tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    close = getattr(frames, "aclose", None)
    if close is not None:
        await close()
