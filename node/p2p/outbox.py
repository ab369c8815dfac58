"""What waits to be written to one gossip neighbour: ready frames, written together in as few writes as possible.

A relayed message lingers a few milliseconds: by then the neighbour has often sent it to us itself, and it need not
be written at all. What this node says itself, and control messages, go at once.
"""

import random
from typing import Final

import trio

MOST_FRAMES: Final = 8_192
MOST_BYTES: Final = 16 * 1024 * 1024
LINGER: Final = 0.006
_WRITE: Final = 64 * 1024


class Outbox:
    """A bounded queue of framed RPCs; the library's holds 32 and drops the rest without a word."""

    def __init__(self) -> None:
        self._frames: dict[bytes | int, bytes] = {}
        self._count = 0
        self._bytes = 0
        self._news, self._hurry = trio.Event(), trio.Event()
        self._closed = False
        self.dropped = 0

    @property
    def is_congested(self) -> bool:
        """Whether a publisher should wait before it adds more."""
        return len(self._frames) > MOST_FRAMES // 4 or self._bytes > MOST_BYTES // 4

    def push(self, frame: bytes, relayed: bytes = b"") -> bool:
        """Queue a frame, with its message id when it is only relayed; False when the neighbour is too slow for us."""
        if self._closed or len(self._frames) >= MOST_FRAMES or self._bytes + len(frame) > MOST_BYTES:
            self.dropped += 1
            return False
        self._count += 1
        self._frames[relayed or self._count] = frame
        self._bytes += len(frame)
        self._news.set()
        if not relayed or self._bytes > _WRITE:
            self._hurry.set()
        return True

    def forget(self, relayed: bytes) -> None:
        """The neighbour has this message already."""
        frame = self._frames.pop(relayed, None)
        if frame is not None:
            self._bytes -= len(frame)

    async def take(self) -> bytes | None:
        """Everything that waits, up to 64 KiB in one piece; None once closed."""
        while not self._frames:
            if self._closed:
                return None
            self._news, self._hurry = trio.Event(), trio.Event()
            await self._news.wait()
            with trio.move_on_after(random.uniform(0, 2 * LINGER)):  # noqa: S311
                await self._hurry.wait()
        chunk, taken = bytearray(), []
        for key, frame in self._frames.items():
            chunk += frame
            taken.append(key)
            if len(chunk) >= _WRITE:
                break
        for key in taken:
            del self._frames[key]
        self._bytes -= len(chunk)
        return bytes(chunk)

    def close(self) -> None:
        """Nothing more will be written."""
        self._closed = True
        self._frames.clear()
        self._bytes = 0
        self._news.set()
        self._hurry.set()
