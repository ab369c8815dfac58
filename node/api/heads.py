"""Bounds on connections and on what comes before a body; and when answers leave.

The server library would take any number of connections, read headers without end, and wait for them for ever.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from node.api.places import Places

WHOLE: Final = "neugrid.whole"
"""Is in the scope of a request once all of its body is here."""
FORWARDED_FOR: Final = b"x-forwarded-for"
"""For whom a process asks that stands between the client and us."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of request line and headers, give or take what arrives at once."""
HEAD_WITHIN: Final = 10.0
"""Seconds that a client may take from the connection, or from its first byte of a later request, to its last header."""
LINGER: Final = 10.0
"""Seconds that the rest of a body is still read, and thrown away, which was answered before it was there."""
LARGE: Final = 64 * 1024
"""Bytes that are sent before the turn is over."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    """One connection; a head that is too large or too slow is answered, and the connection closed.

    So is one for which there is no place. Siblings, who come through a Unix socket, need none.
    """

    _size = 0
    _waiting: asyncio.TimerHandle | None = None
    _lingering: asyncio.TimerHandle | None = None
    _is_in_body = False
    _place = ""

    def __init__(self, places: Places, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self.ws_protocol_class = partial(_Upgraded, self._leave)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._turns = Turns(self.loop, transport)
        super().connection_made(self._turns)  # type: ignore[arg-type]  # it is one in all but its class
        self._begin()
        if self.client and (refusal := self._places.take(self.client[0])):
            self._refuse(refusal)
        elif self.client:
            self._place = self.client[0]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._linger_no_more()
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        super().data_received(data)
        if self._waiting is not None and self._size > MAX_HEAD:
            self._refuse(_TOO_LARGE)
        if self._is_forgotten():
            self._begin()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        self._is_in_body = True
        self._turns.gather()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_body = False
        self._linger_no_more()
        self.scope[WHOLE] = True  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_body and self.cycle.response_complete and self._lingering is None:
            self._lingering = self.loop.call_later(LINGER, self.transport.close)

    def _begin(self) -> None:
        self._size = 0
        self._waiting = self.loop.call_later(HEAD_WITHIN, self._refuse, _TOO_SLOW)

    def _end(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _is_forgotten(self) -> bool:
        """Whether nothing is waited for: empty lines between requests end the library's own waiting."""
        waits = self._waiting or self.timeout_keep_alive_task or self._is_in_body
        return not waits and self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing()

    def _linger_no_more(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def _leave(self) -> None:
        """Give the place back, once."""
        place, self._place = self._place, ""
        if place:
            self._places.give_back(place)

    def _refuse(self, answer: bytes) -> None:
        self._end()
        transport: Any = self.transport
        if not transport.is_closing():
            transport.write(answer)
            transport.close()


class Turns:
    """A transport that sends an answer at the end of the turn of the loop in which it was written: as one packet.

    And all answers of a turn leave one after the other, when none of them is in the making any more: a fifth of the
    time of a request was the kernel's way in between. What grows LARGE, or comes in a later turn, leaves at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self.is_closing = transport.is_closing
        self._loop = loop
        self._transport = transport
        self._gathers = False
        self._written: list[bytes] = []
        self._size = 0

    def gather(self) -> None:
        """What is written next is the beginning of an answer."""
        self._gathers = True

    def write(self, data: bytes) -> None:
        """Send it, with all else of this turn where an answer begins."""
        if not self._gathers:
            self._transport.write(data)
            return
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)
        self._size += len(data)
        if self._size >= LARGE:
            self._send()

    def close(self) -> None:
        """Send what was written, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written, self._size = self._written, [], 0
        if written:
            self._gathers = False
            if not self.is_closing():
                self._transport.write(b"".join(written))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Upgraded(WebSocketsSansIOProtocol):
    """The same connection once it is a WebSocket: the one before hears no more of its end."""

    def __init__(self, leave: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._leave = leave

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)
