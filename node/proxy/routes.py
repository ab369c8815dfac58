"""What the gateway asks of the node: which replicas answer for a host name, and a stream of bytes to one of them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from market.units import PeerId
from node.actions.tunnels import ToPort, open_tunnel
from node.ports import ByteStream, Streams


class Replica(Protocol):
    """One running copy of a service."""

    @property
    def id(self) -> str:
        """Its name; the same name is the same replica."""
        ...

    async def open(self, within: float) -> ByteStream:
        """A connection to its port. Raises PeerUnreachable, Unavailable, or Refused with the provider's code."""
        ...


class Routes(Protocol):
    """Host names of services."""

    def find(self, host: str) -> Sequence[Replica] | None:
        """The healthy replicas behind a host name (lower case, no port); None when nothing has that name."""
        ...


class LeasedReplica(Struct, frozen=True):
    """A replica at a provider: a port of the workload of a lease."""

    streams: Streams
    peer: PeerId
    lease: str
    port: int

    @property
    def id(self) -> str:
        """The lease and the port."""
        return f"{self.lease}:{self.port}"

    async def open(self, within: float) -> ByteStream:
        """A tunnel to the port."""
        return await open_tunnel(self.streams, self.peer, ToPort(lease=self.lease, port=self.port), within)
