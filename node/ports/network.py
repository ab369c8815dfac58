"""libp2p: gossip, questions and answers, and streams of bytes between peers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from market.units import PeerId


class Gossip(Struct, frozen=True):
    """A message that came over gossip; envelope, freshness and signature are verified already."""

    topic: str
    data: bytes


class Peer(Struct, frozen=True):
    """A connected peer and its addresses as multiaddr strings."""

    id: PeerId
    addresses: tuple[str, ...] = ()


RequestHandler = Callable[[PeerId, bytes], Awaitable[bytes]]


class ByteStream(Protocol):
    """Bytes both ways, as they come; a slow reader slows its writer down, from end to end."""

    async def read(self, most: int = 65_536) -> bytes:
        """Some bytes, at most `most`; b"" when the other side writes no more. Unavailable when the stream broke."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of `data`; waits while the other side does not read. Unavailable when the stream broke."""
        ...

    async def close_writing(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        ...

    async def close(self) -> None:
        """Let go of both directions; no error when it is closed already."""
        ...


StreamHandler = Callable[[PeerId, bytes, ByteStream], Awaitable[None]]


class Network(Protocol):
    """libp2p, in its own supervised process. All methods raise Unavailable while that process is down."""

    @property
    def peer(self) -> PeerId:
        """The peer id of this node, derived from the node key."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip `data` (at most 16 KiB); a node need not subscribe to publish."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Join `topic`; survives a restart of the network process."""
        ...

    def gossip(self) -> AsyncIterator[Gossip]:
        """Messages of all joined topics, each once."""
        ...

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        """One request and its answer over a direct stream (at most 4 MiB each way).

        Raises PeerUnreachable when nothing can have been sent, Unavailable when it may have been.
        """
        ...

    def serve(self, handler: RequestHandler) -> None:
        """Answer requests of peers with `handler`; it runs concurrently and must not raise."""
        ...

    async def connect(self, address: str) -> None:
        """Dial a multiaddr that ends in /p2p/<peer id> and keep the connection alive."""
        ...

    async def peers(self) -> tuple[Peer, ...]:
        """The peers connected now."""
        ...

    async def addresses(self) -> tuple[str, ...]:
        """The multiaddrs this node listens on, each ending in /p2p/<peer id>."""
        ...


class Streams(Protocol):
    """Streams of bytes between peers, over the connections of the network; the same adapter is both."""

    async def open_stream(self, peer: PeerId, head: bytes, timeout: float = 5.0) -> ByteStream:
        """A stream of bytes to a peer that begins with `head` (at most 64 KiB): what the stream is about.

        Raises PeerUnreachable when it can not be opened. An answer to `head` is up to the two ends.
        """
        ...

    def serve_streams(self, handler: StreamHandler) -> None:
        """Give streams that peers open to `handler` with their head; the stream is closed when it returns."""
        ...
