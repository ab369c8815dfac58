"""Bounds on what comes before a body: the server library would read headers without end, and wait for them for ever."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FORWARDED_FOR: Final = b"x-forwarded-for"
"""For whom a process asks that stands between the client and us."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of request line and headers, give or take what arrives at once."""
HEAD_WITHIN: Final = 10.0
"""Seconds that a client may take from the connection, or from its first byte of a later request, to its last header."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    """One connection; a head that is too large or too slow is answered, and the connection closed."""

    _size = 0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        super().data_received(data)
        if self._waiting is not None and self._size > MAX_HEAD:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def _begin(self) -> None:
        self._size = 0
        self._waiting = self.loop.call_later(HEAD_WITHIN, self._refuse, _TOO_SLOW)

    def _end(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, answer: bytes) -> None:
        self._end()
        transport: Any = self.transport
        if not transport.is_closing():
            transport.write(answer)
            transport.close()
