"""What the network process allows: rates, sizes, connections and penalties, all in one place."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Defaults suit a home machine; rates are per second, sizes in bytes, times in seconds."""

    connections: int = 8
    """Live connections that the keeper holds, to different peers."""
    inbound: int = 128
    inbound_per_ip: int = 8
    inbound_loopback: int = 512
    """Loopback peers share one address, so they have their own, generous cap."""
    connects_per_ip: float = 10
    connects_burst: float = 40

    degree: int = 6
    degree_low: int = 4
    degree_high: int = 10
    heartbeat: float = 1.0

    peer_rate: float = 600
    """New gossip messages that one neighbour may forward; copies of known messages are free."""
    peer_burst: float = 4000
    origin_rate: float = 120
    """Gossip messages that one sender may issue."""
    origin_burst: float = 2000
    max_ttl: int = 3600
    """A gossip message that wants to live longer is ignored."""

    request_rate: float = 3000
    """Requests that one peer may send."""
    request_burst: float = 6000
    request_streams: int = 32
    """Streams that one peer may hold open to us."""
    pool: int = 8
    """Streams that we hold open to one peer."""
    stream_idle: float = 60
    """An unused stream of ours is closed after this; a peer's after five times as long."""

    byte_streams: int = 512
    """Streams of bytes that all peers together may hold open to us."""
    byte_streams_per_peer: int = 200
    """yamux carries 256 streams on a connection; some are left for requests."""
    byte_stream_rate: float = 500
    """Streams of bytes that one peer may open."""
    byte_stream_burst: float = 1000
    byte_stream_window: int = 1024 * 1024
    """Bytes that may be under way to us on one of them."""
    byte_stream_idle: float = 1800
    """A stream of bytes on which nothing moves is cut."""
    head_within: float = 10
    """The head of a stream must come within this."""

    blame_limit: int = 1000
    """A peer is kicked at this many points; an invalid message costs 100, one over the rate 1; a minute halves them."""
    ban: float = 600
    buffer: int = 24 * 1024 * 1024
    """Unread bytes that one connection may pile up here before it is cut."""
    probe: float = 5
    """Every so often a connection must answer a ping within three seconds."""
