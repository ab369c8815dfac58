"""The doors into a container for its owner: a command, a file out, a file in; and the frames on those streams.

A frame is a kind (1 byte), a length (4 bytes, big-endian) and so many bytes. Either side says DATA any number of times
and then END; the owner may say SIZE in between, the provider's last word is DONE with how it ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.errors import BadMessage, NeugridError, Refused, Unavailable
from market.leases import Lease
from market.workloads import Text
from node.actions.tunnels import Carrier, Door, Head
from node.ports import ByteStream, Containers, Session

PIECE: Final = 64 * 1024
MAX_FRAME: Final = 256 * 1024
MAX_ARCHIVE: Final = 8 * 2**30
"""Bytes that one copy into a container may have, whatever its disk is."""
Path = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^/[^\x00]*$")]
Cells = Annotated[int, Meta(ge=1, le=1000)]


class Execute(Head, frozen=True, kw_only=True, tag="exec"):
    """A command, with a terminal or with plain pipes."""

    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)]
    has_terminal: bool = False
    rows: Cells = 24
    columns: Cells = 80


class Pack(Head, frozen=True, kw_only=True, tag="pack"):
    """A tar archive of what is at `path`."""

    path: Path


class Unpack(Head, frozen=True, kw_only=True, tag="unpack"):
    """A tar archive into the folder `path`."""

    path: Path


class FrameKind(IntEnum):
    DATA = 0
    END = 1
    SIZE = 2
    DONE = 3


class Size(Struct, frozen=True):
    """What a terminal has room for."""

    rows: Cells
    columns: Cells


class Outcome(Struct, frozen=True, kw_only=True):
    """How it ended: the command's exit code, or the code and message of an error."""

    exit_code: Annotated[int, Meta(ge=-1, le=255)] = 0
    code: Annotated[str, Meta(max_length=64)] = ""
    message: Annotated[str, Meta(max_length=512)] = ""


_encode = msgspec.json.Encoder().encode
_size = msgspec.json.Decoder(Size)
_outcome = msgspec.json.Decoder(Outcome)


class Frames:
    """Frames over a stream of bytes."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def say(self, kind: FrameKind, body: bytes = b"") -> None:
        """Send one frame."""
        await self.stream.write(bytes([kind]) + len(body).to_bytes(4, "big") + body)

    async def finish(self, outcome: Outcome) -> None:
        """Send the last word."""
        await self.say(FrameKind.DONE, _encode(outcome))

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the size of a terminal."""
        await self.say(FrameKind.SIZE, _encode(Size(rows, columns)))

    async def next(self) -> tuple[FrameKind, bytes] | None:
        """The next frame; None at the end of the stream. BadMessage for what is none."""
        while (frame := self._cut()) is None:
            data = await self.stream.read(PIECE)
            if not data:
                return None
            self._buffer += data
        return frame

    def _cut(self) -> tuple[FrameKind, bytes] | None:
        if len(self._buffer) < 5:
            return None
        length = int.from_bytes(self._buffer[1:5], "big")
        if length > MAX_FRAME or self._buffer[0] > FrameKind.DONE:
            raise BadMessage("no frame of a console", got=length)
        if len(self._buffer) < 5 + length:
            return None
        kind, body = FrameKind(self._buffer[0]), bytes(self._buffer[5 : 5 + length])
        del self._buffer[: 5 + length]
        return kind, body


def read_outcome(body: bytes) -> Outcome:
    """The last word of a provider."""
    try:
        return _outcome.decode(body)
    except msgspec.DecodeError as error:
        raise BadMessage("no outcome of a console") from error


# --- the provider's end ---------------------------------------------------------------------------------------------


def exec_door(containers: Containers, idle: float) -> Door:
    """The door to a command inside of the container."""

    @asynccontextmanager
    async def opened(lease: Lease, head: Execute) -> AsyncIterator[Carrier]:
        session = await containers.execute(
            lease.container, head.command, has_terminal=head.has_terminal, rows=head.rows, columns=head.columns
        )
        try:
            yield partial(_converse, session, idle)
        finally:
            await session.close()

    return opened


async def _converse(session: Session, idle: float, stream: ByteStream) -> None:
    """Carry input and output until the command ends, its owner goes away, or nothing moves for `idle` seconds."""
    frames = Frames(stream)
    async with asyncio.timeout(idle) as quiet:
        moved = partial(_put_off, quiet, idle)
        hearing = asyncio.create_task(_hear(session, frames, moved))
        telling = asyncio.create_task(_tell(session, frames, moved))
        try:
            await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
            if (hearing.done() and hearing.result()) or telling.done():
                await telling
        finally:
            for task in (hearing, telling):
                task.cancel()
            await asyncio.gather(hearing, telling, return_exceptions=True)


def _put_off(quiet: asyncio.Timeout, idle: float) -> None:
    quiet.reschedule(asyncio.get_running_loop().time() + idle)


async def _hear(session: Session, frames: Frames, moved: "partial[None]") -> bool:
    """Pass the owner's words on; whether the owner is still there when no more come."""
    while (frame := await frames.next()) is not None:
        moved()
        kind, body = frame
        if kind is FrameKind.DATA:
            with suppress(Unavailable):  # a command that reads no more may still write
                await session.write(body)
        elif kind is FrameKind.SIZE:
            await session.resize(*_asked_size(body))
        elif kind is FrameKind.END:
            await session.close_writing()
            return True
    return False


def _asked_size(body: bytes) -> tuple[int, int]:
    try:
        size = _size.decode(body)
    except msgspec.DecodeError as error:
        raise BadMessage("no size of a terminal") from error
    return size.rows, size.columns


async def _tell(session: Session, frames: Frames, moved: "partial[None]") -> None:
    while data := await session.read(PIECE):
        moved()
        await frames.say(FrameKind.DATA, data)
    await frames.finish(Outcome(exit_code=max(-1, min(255, await session.exit_code()))))


def pack_door(containers: Containers) -> Door:
    """The door for files out of the container."""

    @asynccontextmanager
    async def opened(lease: Lease, head: Pack) -> AsyncIterator[Carrier]:
        yield partial(_send_archive, containers.pack(lease.container, head.path))

    return opened


async def _send_archive(chunks: AsyncIterator[bytes], stream: ByteStream) -> None:
    frames = Frames(stream)
    try:
        async for chunk in chunks:
            for start in range(0, len(chunk), PIECE):
                await frames.say(FrameKind.DATA, chunk[start : start + PIECE])
    except NeugridError as error:
        await frames.finish(Outcome(code=error.code, message=error.message[:512]))
    else:
        await frames.finish(Outcome())


def unpack_door(containers: Containers) -> Door:
    """The door for files into the container."""

    @asynccontextmanager
    async def opened(lease: Lease, head: Unpack) -> AsyncIterator[Carrier]:
        yield partial(_take_archive, containers, lease, head.path)

    return opened


async def _take_archive(containers: Containers, lease: Lease, path: str, stream: ByteStream) -> None:
    frames = Frames(stream)
    try:
        await containers.unpack(lease.container, path, _pieces(frames), MAX_ARCHIVE)
    except NeugridError as error:
        await frames.finish(Outcome(code=error.code, message=error.message[:512]))
    else:
        await frames.finish(Outcome())


async def _pieces(frames: Frames) -> AsyncIterator[bytes]:
    """The bytes of an archive; Unavailable when its owner goes away before its end."""
    while (frame := await frames.next()) is not None:
        kind, body = frame
        if kind is FrameKind.END:
            return
        if kind is not FrameKind.DATA:
            raise Refused("only data was expected", codes=("BAD_MESSAGE",))
        yield body
    raise Unavailable("the archive ended early")
