"""One request to a service and its answer: both bodies flow at once, each as fast as its slower side.

h11 keeps the state of both connections and frames what is sent; what is between them, and when to give up, is here.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import h11

from market.errors import Unavailable
from node.actions.pumping import pump
from node.ports import ByteStream
from node.proxy.heads import RequestHead
from node.proxy.limits import ProxyLimits
from node.proxy.passing_on import to_client, to_client_upgraded, to_service
from node.proxy.refusals import Refusal
from node.proxy.wire import ClientGone, Wire

_PIECE: Final = 128 * 1024
_ANSWER_HEAD: Final = 64 * 1024
_NO_MORE: Final = (h11.NEED_DATA, h11.PAUSED)
SWITCHING: Final = 101


class Stale(Exception):
    """A kept connection had been closed by the service: nothing of the request was looked at."""


class CutOff(Exception):
    """The answer broke when part of it was on its way: all that is left is to let the client see that."""


class Exchange:
    """One request and one answer; `run` says whether client and service connections can carry another pair."""

    def __init__(self, wire: Wire, server: h11.Connection, head: RequestHead, limits: ProxyLimits) -> None:
        self._wire, self._server, self._head, self._limits = wire, server, head, limits
        self._client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANSWER_HEAD)
        self._silence: asyncio.Timeout | None = None
        self.has_begun = False
        """Whether anything of an answer went to the client."""
        self._has_heard = False
        self.is_client_reusable, self.is_service_reusable = False, False

    async def run(self, stream: ByteStream) -> None:
        """Carry request and answer. Raises Refusal while the client can still be told, Stale, CutOff, ClientGone."""
        try:
            async with asyncio.timeout(self._limits.total):
                await self._exchange(stream)
                if self._has_switched:
                    await self._tunnel(stream)
        except TimeoutError:
            raise self._told(Refusal("TOTAL_TIMEOUT", "the request took too long")) from None

    async def _exchange(self, stream: ByteStream) -> None:
        sending = asyncio.create_task(self._send(stream))
        answering = asyncio.create_task(self._answer(stream))
        try:
            await self._until_answered(sending, answering)
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        self._settle()

    async def _until_answered(self, sending: "asyncio.Task[None]", answering: "asyncio.Task[None]") -> None:
        await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and (error := sending.exception()) is not None:
            raise self._told(error)
        try:
            await answering
        except (Refusal, Unavailable, h11.RemoteProtocolError) as error:
            raise self._told(error) from error

    def _told(self, error: BaseException) -> BaseException:
        """The error in the words of `run`."""
        if isinstance(error, ClientGone) or not isinstance(error, Refusal | Unavailable | h11.RemoteProtocolError):
            return error
        if self.has_begun:
            return CutOff(str(error))
        if isinstance(error, h11.RemoteProtocolError):
            return Refusal("BAD_UPSTREAM_RESPONSE", f"the service does not answer in HTTP/1.1: {error}")
        return (
            error if isinstance(error, Refusal) else Refusal("UPSTREAM_CLOSED", "the service closed without an answer")
        )

    def _settle(self) -> None:
        """What can be used again: both sides have said everything and were understood."""
        is_over = self._server.our_state is h11.DONE and self._server.their_state is h11.DONE
        self.is_client_reusable = is_over
        has_rest = bool(self._client.trailing_data[0])
        self.is_service_reusable = (
            self._client.our_state is h11.DONE and self._client.their_state is h11.DONE and not has_rest
        )
        self._wire.put_back(self._server.trailing_data[0])

    # --- the request --------------------------------------------------------------------------------------------

    async def _send(self, stream: ByteStream) -> None:
        """Send the request, then look out for a client that leaves; ends when the service reads no more."""
        try:
            await stream.write(self._request_bytes())
            await self._send_body(stream)
        except ClientGone:
            raise
        except Unavailable:
            return  # it may have answered without reading all of it
        await self._watch_client()

    def _request_bytes(self) -> bytes:
        head, scheme = self._head, "https" if self._wire.is_secure else "http"
        headers = to_service(head, self._wire.address, scheme)
        request = h11.Request(method=head.method, target=head.target, headers=headers)
        data = self._client.send(request) or b""
        return data if head.has_body else data + self._body_bytes(self._next_of_client())

    async def _send_body(self, stream: ByteStream) -> None:
        while self._head.has_body:
            parts: list[bytes] = []
            while (event := self._next_of_client()) not in _NO_MORE:
                parts.append(self._body_bytes(event))
                if isinstance(event, h11.EndOfMessage):
                    break
            if parts:
                await stream.write(b"".join(parts))
                self._touch(self._limits.answer_within)
            if isinstance(event, h11.EndOfMessage):
                return
            self._server.receive_data(await self._piece())

    def _body_bytes(self, event: Any) -> bytes:
        """Trailers are not passed on: servers differ in what they take from them."""
        return self._client.send(h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event) or b""

    def _next_of_client(self) -> Any:
        try:
            return self._server.next_event()
        except h11.RemoteProtocolError as error:
            raise Refusal("BAD_REQUEST", f"the body can not be read: {error}") from error

    async def _piece(self) -> bytes:
        try:
            async with asyncio.timeout(self._limits.piece_within):
                data = await self._wire.read(_PIECE)
        except TimeoutError:
            raise Refusal("REQUEST_TIMEOUT", "the body of the request did not come in time") from None
        if not data:
            raise ClientGone("the client left inside its request")
        return data

    async def _watch_client(self) -> None:
        """Raise ClientGone when it leaves; returns when it has sent the beginning of another request."""
        if self._server.trailing_data[0]:
            return
        data = await self._wire.read(_PIECE)
        if not data:
            raise ClientGone("the client did not wait for the answer")
        self._wire.put_back(data)

    # --- the answer ---------------------------------------------------------------------------------------------

    async def _answer(self, stream: ByteStream) -> None:
        try:
            async with asyncio.timeout(self._limits.answer_within) as self._silence:
                while not self._is_answered:
                    await self._forward()
                    if not self._is_answered:
                        await self._receive(stream)
        except TimeoutError:
            raise Refusal("UPSTREAM_TIMEOUT", "the service did not answer in time") from None

    @property
    def _is_answered(self) -> bool:
        return self._client.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.SWITCHED_PROTOCOL)

    @property
    def _has_switched(self) -> bool:
        return self._client.their_state is h11.SWITCHED_PROTOCOL

    async def _receive(self, stream: ByteStream) -> None:
        try:
            data = await stream.read(_PIECE)
        except Unavailable as error:
            raise self._broken() from error
        if not data and not self._has_heard:
            raise self._broken()
        self._has_heard = True
        self._touch(self._limits.idle if self.has_begun else self._limits.answer_within)
        self._client.receive_data(data)

    def _broken(self) -> Exception:
        return Unavailable("the service broke off") if self._has_heard else Stale()

    async def _forward(self) -> None:
        """Pass on all that has come, in one write."""
        parts: list[bytes] = []
        while (event := self._client.next_event()) not in _NO_MORE:
            parts.append(self._answer_bytes(event))
            if isinstance(event, h11.EndOfMessage) or self._has_switched:
                break
        if data := b"".join(parts):
            self.has_begun = self._server.our_state is not h11.SEND_RESPONSE
            await self._wire.write(data)
            self._touch(self._limits.idle)

    def _answer_bytes(self, event: Any) -> bytes:
        if isinstance(event, h11.InformationalResponse):
            return self._informed(event)
        if isinstance(event, h11.Response):
            names = [name for name, _ in event.headers]
            if b"transfer-encoding" in names and b"content-length" in names:
                raise h11.RemoteProtocolError("both Transfer-Encoding and Content-Length")
            headers = to_client(list(event.headers))
            return self._said(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
        return self._said(h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event)

    def _informed(self, event: h11.InformationalResponse) -> bytes:
        """101 is the way out of HTTP; other early words are for those who know them."""
        if event.status_code == SWITCHING:
            headers = to_client_upgraded(list(event.headers))
            return self._said(h11.InformationalResponse(status_code=SWITCHING, headers=headers, reason=event.reason))
        if self._server.their_http_version == b"1.0":
            return b""
        headers = to_client(list(event.headers))
        return self._said(h11.InformationalResponse(status_code=event.status_code, headers=headers))

    def _said(self, event: Any) -> bytes:
        try:
            return self._server.send(event) or b""
        except h11.LocalProtocolError as error:  # the service contradicts itself
            raise h11.RemoteProtocolError(str(error)) from error

    def _touch(self, seconds: float) -> None:
        if self._silence is not None and not self._silence.expired():
            with suppress(RuntimeError):  # the answer is complete, or its task has not begun
                self._silence.reschedule(asyncio.get_running_loop().time() + seconds)

    # --- upgraded -----------------------------------------------------------------------------------------------

    async def _tunnel(self, stream: ByteStream) -> None:
        """Bytes both ways, those first that came along with the heads."""
        if ahead := self._client.trailing_data[0]:
            await self._wire.write(ahead)
        await pump(self._wire, stream, self._limits.idle, self._limits.farewell)
