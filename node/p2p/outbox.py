"""What waits to be written to one gossip neighbour: ready frames, written together in as few writes as possible."""

from collections import deque
from typing import Final

import trio

MOST_FRAMES: Final = 8_192
MOST_BYTES: Final = 16 * 1024 * 1024
_WRITE: Final = 64 * 1024


class Outbox:
    """A bounded queue of framed RPCs; the library's holds 32 and drops the rest without a word."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._news = trio.Event()
        self._closed = False
        self.dropped = 0

    @property
    def is_congested(self) -> bool:
        """Whether a publisher should wait before it adds more."""
        return len(self._frames) > MOST_FRAMES // 4 or self._bytes > MOST_BYTES // 4

    def push(self, frame: bytes) -> bool:
        """Queue a frame; False when the neighbour is too slow for us."""
        if self._closed or len(self._frames) >= MOST_FRAMES or self._bytes + len(frame) > MOST_BYTES:
            self.dropped += 1
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._news.set()
        return True

    async def take(self) -> bytes | None:
        """Everything that waits, up to 64 KiB in one piece; None once closed."""
        while not self._frames:
            if self._closed:
                return None
            self._news = trio.Event()
            await self._news.wait()
        chunk = bytearray()
        while self._frames and len(chunk) < _WRITE:
            chunk += self._frames.popleft()
        self._bytes -= len(chunk)
        return bytes(chunk)

    def close(self) -> None:
        """Nothing more will be written."""
        self._closed = True
        self._frames.clear()
        self._bytes = 0
        self._news.set()
