"""Streams from a requester into what runs for it here: a head says where to, a first answer says yes or why not.

The head is a struct with a `kind`; each kind has its door, in a table. A door is opened before the answer, so that the
requester learns of a refusal; then the bytes are the door's. On the requester's side `open_tunnel` is the counterpart.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any, Final, Union

import msgspec
from msgspec import Meta, Struct

from market.errors import BadMessage, NeugridError, NotFound, PeerUnreachable, Refused, Unavailable
from market.leases import Lease, LeaseState
from market.offers import Id
from market.units import PeerId
from market.workloads import PortNumber
from node.actions.held_leases import held_lease
from node.actions.pumping import pump
from node.ports import ByteStream, Containers, Reader, Streams

MAX_ANSWER: Final = 4096
_SIZE: Final = 2
"""Bytes of length before the answer."""


class Head(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What a stream is for; every kind of it concerns one lease."""

    lease: Id


class ToPort(Head, frozen=True, kw_only=True, tag="port"):
    """To a port that the lease's workload has named."""

    port: PortNumber


class Answer(Struct, frozen=True, kw_only=True):
    """The first word of the provider; without a code the way is open."""

    code: Annotated[str, Meta(max_length=64)] = ""
    message: Annotated[str, Meta(max_length=512)] = ""


class TunnelLimits(Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    per_lease: int = 256
    """Streams into one lease at a time."""
    dial_within: float = 5
    idle: float = 600
    """A stream on which nothing moves is closed."""


Carrier = Callable[[ByteStream], Awaitable[None]]
"""Takes the stream over, behind the answer."""
Door = Callable[[Lease, Any], AbstractAsyncContextManager[Carrier]]
"""Opens what the head asks for; refuses by raising, and gives everything back when it is left."""

_encode = msgspec.json.Encoder().encode
_answers: Final = msgspec.json.Decoder(Answer)


class Tunnels:
    """The provider's end: `serve` is a stream handler."""

    def __init__(self, reader: Reader, doors: Mapping[type[Head], Door], limits: TunnelLimits) -> None:
        self._reader, self._doors, self._limits = reader, doors, limits
        self._heads = msgspec.json.Decoder(Union[tuple(doors)])  # noqa: UP007 - the types come from the table
        self._inside: Counter[str] = Counter()

    async def serve(self, peer: PeerId, head: bytes, stream: ByteStream) -> None:
        """Answer a stream that `peer` has opened, and carry it until it ends."""
        try:
            asked = self._decoded(head)
            lease = self._lease_of(peer, asked.lease)
            door = self._doors[type(asked)](lease, asked)
            self._inside[lease.id] += 1
            try:
                await self._pass(door, stream)
            finally:
                self._inside[lease.id] -= 1
                if not self._inside[lease.id]:
                    del self._inside[lease.id]
        except _Closed as closed:
            await _say(stream, closed.answer)

    async def _pass(self, door: AbstractAsyncContextManager[Carrier], stream: ByteStream) -> None:
        async with AsyncExitStack() as stack:
            try:
                carry = await stack.enter_async_context(door)
            except NeugridError as error:
                raise _Closed(_refusal(error)) from error
            await _say(stream, Answer())
            await carry(stream)

    def _decoded(self, head: bytes) -> Head:
        try:
            asked: Head = self._heads.decode(head)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Closed(Answer(code="BAD_MESSAGE", message=f"no such head of a stream: {error}"[:512])) from error
        return asked

    def _lease_of(self, peer: PeerId, id: str) -> Lease:
        """The lease, if it runs here for this peer; that of another is like none."""
        try:
            lease = held_lease(self._reader, id)
        except NotFound as error:
            raise _Closed(Answer(code="NOT_FOUND", message="no such lease")) from error
        if lease.side != "provider" or lease.terms.requester_peer != peer:
            raise _Closed(Answer(code="NOT_FOUND", message="no such lease"))
        if lease.state is not LeaseState.RUNNING:
            raise _Closed(Answer(code="NOT_RUNNING", message=f"the lease is {lease.state}"))
        if self._inside[id] >= self._limits.per_lease:
            raise _Closed(Answer(code="BUSY", message=f"{self._limits.per_lease} streams into this lease are open"))
        return lease


class _Closed(Exception):
    """The way is not open, and what is said about it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


def _refusal(error: NeugridError) -> Answer:
    codes = error.details.get("codes")
    code = str(codes[0]) if isinstance(codes, tuple) and codes else error.code
    return Answer(code=code[:64], message=error.message[:512])


def port_door(containers: Containers, limits: TunnelLimits) -> Door:
    """The door to a port of the workload: a connection on the container's own loopback."""

    @asynccontextmanager
    async def opened(lease: Lease, head: ToPort) -> AsyncIterator[Carrier]:
        if lease.workload is None or head.port not in {port.port for port in lease.workload.ports}:
            raise Refused("the workload names no such port", codes=("NO_SUCH_PORT",), port=head.port)
        inner = await dialled(containers, lease.container, head.port, limits.dial_within)
        try:
            yield partial(pump, inner, idle=limits.idle)
        finally:
            await inner.close()

    return opened


async def dialled(containers: Containers, name: str, port: int, within: float) -> ByteStream:
    """A connection to the port. Refused with PORT_CLOSED, NOT_RUNNING or DIAL_TIMEOUT when there is none."""
    try:
        async with asyncio.timeout(within):
            return await containers.dial(name, port)
    except Refused as error:
        raise Refused("nothing listens on this port", codes=("PORT_CLOSED",), port=port) from error
    except NotFound as error:
        raise Refused("the container does not run", codes=("NOT_RUNNING",)) from error
    except TimeoutError:
        raise Refused("the port does not answer", codes=("DIAL_TIMEOUT",), port=port) from None


async def _say(stream: ByteStream, answer: Answer) -> None:
    data = _encode(answer)
    await stream.write(len(data).to_bytes(_SIZE, "big") + data)


# --- the requester's end --------------------------------------------------------------------------------------------


async def open_tunnel(streams: Streams, peer: PeerId, head: Head, within: float = 10.0) -> ByteStream:
    """A stream behind the provider's yes. Raises PeerUnreachable, Unavailable, or Refused with the provider's code."""
    stream = await streams.open_stream(peer, _encode(head), min(within, 5.0))
    is_open = False
    try:
        async with asyncio.timeout(within):
            answer = await _heard(stream)
        if answer.code:
            raise Refused(answer.message or "the provider refused", codes=(answer.code,))
        is_open = True
    except TimeoutError:
        raise PeerUnreachable("the provider did not answer", peer=peer, seconds=within) from None
    finally:
        if not is_open:
            await stream.close()
    return stream


async def _heard(stream: ByteStream) -> Answer:
    size = int.from_bytes(await _exactly(stream, _SIZE), "big")
    if size > MAX_ANSWER:
        raise BadMessage("too large for an answer", expected=f"at most {MAX_ANSWER} bytes", got=size)
    try:
        return _answers.decode(await _exactly(stream, size))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadMessage("not the answer to a stream") from error


async def _exactly(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise Unavailable("the stream ended before its answer")
        data += more
    return data
