"""What the gateway allows: connections, sizes, times; all in one place."""

from msgspec import Struct


class ProxyLimits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds."""

    connections: int = 2048
    connections_per_address: int = 512
    handshake_within: float = 10
    """TLS is agreed within this."""
    head: int = 32 * 1024
    headers: int = 128
    head_within: float = 10
    """A head is complete so soon after its first byte; a new connection has as long for that byte."""
    keep_alive: float = 60
    """A connection without a request is closed after this."""
    piece_within: float = 30
    """So long a client may take for each piece of its body."""
    answer_within: float = 60
    """The service begins its answer so soon after the last piece of the request."""
    idle: float = 300
    """An answer, or a connection that was upgraded, on which nothing moves is cut."""
    farewell: float = 10
    """As `idle`, once one side of an upgraded connection has ended."""
    total: float = 6 * 3600
    """No request, upgraded or not, takes longer."""
    open_within: float = 10
    streams: int = 128
    """Connections to one replica at a time; the provider's network allows one peer 200."""
    queue_within: float = 5
    """A request waits so long for one of them."""
    kept: int = 16
    """Idle connections kept to one replica."""
    keep: float = 4
    """And how long: servers close theirs after 5 s."""
    avoid: float = 2
    """A replica that could not be reached comes last for so long."""
    grace: float = 5
    """Running requests have this long when the gateway closes."""
