"""Server-sent events: numbered frames, a heartbeat in silence, and an end when the server stops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import msgspec
from litestar.response import Stream

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
ROOM: Final = 256 * 1024
"""Bytes that wait for a slow client."""
IN_TURN: Final = 100
"""Frames until others have their turn."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Closing(asyncio.Event):
    """Set once, when the server stops."""


Watched = Callable[[], AbstractContextManager[asyncio.Event]]
"""While a stream is open: what is set when its follower may no longer."""


@contextmanager
def unwatched() -> Iterator[asyncio.Event]:
    """Nobody ends it."""
    yield asyncio.Event()


class Frame:
    """One event: `id` is what a client resumes after (Last-Event-ID), `data` anything that is JSON."""

    __slots__ = ("encoded",)

    def __init__(self, event: str, data: Any, id: int | None = None) -> None:
        head = b"" if id is None else b"id: %d\n" % id
        self.encoded = head + b"event: %s\ndata: %s\n\n" % (event.encode(), _encode(data))
        """The frame on the wire, the same for all who follow; JSON has no line breaks of its own."""


def event_stream(
    frames: AsyncIterator[Frame], closing: Closing, watched: Watched = unwatched, heartbeat: float = HEARTBEAT
) -> Stream:
    """The response that sends `frames` as they come, while its follower may have them."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Stream(_wire(frames, closing, heartbeat, watched), media_type="text/event-stream", headers=headers)


async def _wire(
    frames: AsyncIterator[Frame], closing: Closing, heartbeat: float, watched: Watched = unwatched
) -> AsyncIterator[bytes]:
    """Bytes of the stream, as many frames at once as wait; `frames` is closed however this ends."""
    pump = _Pump(frames)
    with watched() as revoked:
        waits = (closing.wait(), pump.run(), revoked.wait())
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(wait) for wait in waits]
        for task in tasks:
            task.add_done_callback(lambda _: pump.filled.set())
        try:
            yield b"retry: 1000\n\n"
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat):
                        await pump.filled.wait()
                if revoked.is_set():
                    return
                data = pump.taken()
                if data:
                    yield data
                if not data and tasks[1].done():
                    tasks[1].result()
                    return
                if closing.is_set():
                    yield Frame("closing", {"reason": "the node stops; resume with Last-Event-ID"}).encoded
                    return
                if not data:
                    yield b": still here\n\n"
        finally:
            await _end(frames, tasks)


class _Pump:
    """Fills a buffer from `frames`, which stands still while ROOM bytes wait: a frame alone is dear to send."""

    def __init__(self, frames: AsyncIterator[Frame]) -> None:
        self.filled = asyncio.Event()
        """Set when something waits, and when no more will come."""
        self._frames = frames
        self._waiting: list[bytes] = []
        self._size = 0
        self._emptied = asyncio.Event()

    def taken(self) -> bytes:
        """All that waits."""
        data, self._waiting, self._size = b"".join(self._waiting), [], 0
        self.filled.clear()
        self._emptied.set()
        return data

    async def run(self) -> None:
        """To the end of the frames; after so many at a time others have their turn."""
        async for frame in self._frames:
            self._waiting.append(frame.encoded)
            self._size += len(self._waiting[-1])
            self.filled.set()
            if len(self._waiting) % IN_TURN == 0:
                await asyncio.sleep(0)
            while self._size >= ROOM:
                self._emptied.clear()
                await self._emptied.wait()


async def _end(frames: AsyncIterator[Frame], tasks: list[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    close = getattr(frames, "aclose", None)
    if close is not None:
        await close()
