"""What the node and its network process say to each other: plain structs, msgpack, four bytes of length in front.

The same file serves both sides; it knows neither asyncio nor trio. A call carries a number and gets exactly one
Done or Failed back.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from node.p2p.limits import Limits

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME: Final = 64 * 1024 * 1024


class Command(Struct, frozen=True, array_like=True, tag_field="t"):
    """From the node to its network process."""


class Start(Command, frozen=True, tag=0):
    """The first frame: the secret comes this way, so that neither arguments nor environment ever hold it."""

    secret: bytes
    network: bytes
    listen: tuple[str, ...]
    bootstrap: tuple[str, ...]
    announce: tuple[str, ...]
    data_dir: str
    limits: Limits


class Publish(Command, frozen=True, tag=1):
    call: int
    topic: str
    data: bytes


class Subscribe(Command, frozen=True, tag=2):
    call: int
    topic: str


class Request(Command, frozen=True, tag=3):
    call: int
    peer: str
    data: bytes
    timeout: float


class Cancel(Command, frozen=True, tag=4):
    """The caller of a request has gone away."""

    call: int


class Answer(Command, frozen=True, tag=5):
    """The node's answer to a Called; None when it has none, which resets the peer's stream."""

    call: int
    data: bytes | None


class Connect(Command, frozen=True, tag=6):
    call: int
    address: str


class Ask(Command, frozen=True, tag=7):
    """A question about the state: "peers", "addresses" or "status"."""

    call: int
    what: str


class Stop(Command, frozen=True, tag=8):
    pass


class Open(Command, frozen=True, tag=9):
    """Open a stream of bytes; comes through the hatch, with the socket that is to carry them."""

    call: int
    peer: str
    head: bytes
    timeout: float


class Event(Struct, frozen=True, array_like=True, tag_field="t"):
    """From the network process to the node."""


class Started(Event, frozen=True, tag=0):
    addresses: tuple[str, ...]


class Refused(Event, frozen=True, tag=1):
    """The process cannot start, and why; it ends after this."""

    reason: str


class Arrived(Event, frozen=True, tag=2):
    """Verified gossip, in the order of arrival: pairs of topic and data."""

    messages: list[tuple[str, bytes]]


class Called(Event, frozen=True, tag=3):
    """A peer asks; the answer is an Answer with the same number."""

    call: int
    peer: str
    data: bytes


class Done(Event, frozen=True, tag=4):
    call: int
    value: Any = None


class Failed(Event, frozen=True, tag=5):
    """`is_unsent` says that nothing can have reached the peer."""

    call: int
    reason: str
    is_unsent: bool = False


class Opened(Event, frozen=True, tag=6):
    """A peer has opened a stream of bytes; comes through the hatch, with the socket that carries them."""

    peer: str
    head: bytes


class BadFrame(Exception):
    """The other side of the socket does not speak this protocol."""


AnyCommand = Start | Publish | Subscribe | Request | Cancel | Answer | Connect | Ask | Stop
AnyEvent = Started | Refused | Arrived | Called | Done | Failed

_ENCODER: Final = msgspec.msgpack.Encoder()
COMMANDS: Final = msgspec.msgpack.Decoder(AnyCommand)
EVENTS: Final = msgspec.msgpack.Decoder(AnyEvent)
OPENS: Final = msgspec.msgpack.Decoder(Open)
OPENED: Final = msgspec.msgpack.Decoder(Opened)
MAX_HEAD: Final = 64 * 1024
"""The first frame of a stream of bytes: what it is about."""


def packed(message: Command | Event) -> bytes:
    """The bytes of one message through the hatch, which keeps messages apart by itself."""
    return _ENCODER.encode(message)


def frame(message: Command | Event) -> bytes:
    """The bytes of one message on the socket."""
    buffer = bytearray(_LENGTH.size)
    _ENCODER.encode_into(message, buffer, _LENGTH.size)
    _LENGTH.pack_into(buffer, 0, len(buffer) - _LENGTH.size)
    return bytes(buffer)


class Unframer:
    """Cuts a stream of bytes into frames; keeps what is not complete yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes. Raises BadFrame on an absurd length."""
        self._buffer += data
        start = 0
        while (end := self._end(start)) is not None:
            yield bytes(memoryview(self._buffer)[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]

    def _end(self, start: int) -> int | None:
        if len(self._buffer) - start < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer, start)
        if length > MAX_FRAME:
            raise BadFrame(f"a frame of {length} bytes")
        end = start + _LENGTH.size + int(length)
        return end if end <= len(self._buffer) else None
