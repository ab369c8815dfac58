"""What goes on inside of running containers: connections to their ports, commands, files, what they use."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from market.units import Timestamp
from node.ports.network import ByteStream


class Session(ByteStream, Protocol):
    """A command inside a running container: its input and output as bytes; with a terminal they are one stream."""

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size."""
        ...

    async def exit_code(self) -> int:
        """Wait for the end of the command and say how it ended."""
        ...


class Sample(Struct, frozen=True, kw_only=True):
    """What a container used: `cpu` in nanoseconds since its start, the rest in bytes; `at` in epoch ms.

    `received` and `sent` are totals since the start; both are 0 for a container without network. `gpu` is the present
    load of its GPUs in thousandths, -1 where it has none or nobody knows.
    """

    at: Timestamp
    cpu: int
    memory: int
    received: int = 0
    sent: int = 0
    gpu: int = -1


class Containers(Protocol):
    """What can be done inside of running containers. NotFound when it does not run, Unavailable without engine."""

    async def dial(self, name: str, port: int) -> ByteStream:
        """Connect to `port` on the container's own loopback, inside of its network namespace; Refused when closed."""
        ...

    async def execute(
        self, name: str, command: Sequence[str], *, has_terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> Session:
        """Run a command inside, under the container's own limits and privileges."""
        ...

    def pack(self, name: str, path: str) -> AsyncIterator[bytes]:
        """A tar archive of a file or folder inside; NotFound when there is none."""
        ...

    async def unpack(self, name: str, path: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Unpack a tar archive of at most `limit` bytes into a writable folder inside."""
        ...

    async def sample(self, name: str) -> Sample:
        """What the container uses now; cheap enough for every few seconds."""
        ...
