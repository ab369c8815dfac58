"""Ports of this machine's own address, where a provider lets workloads be reached in the open."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from node.ports.network import ByteStream

Dial = Callable[[], Awaitable[ByteStream]]
"""Opens the way to the workload, anew for every connection; raises NeugridError where there is none."""


class OpenPort(Protocol):
    """A port that listens."""

    async def close(self) -> None:
        """Stop listening; connections have a short time of grace, then they are cut."""
        ...


class PublicPorts(Protocol):
    """The ports that this provider gives away."""

    @property
    def address(self) -> str:
        """The name or address under which others reach them."""
        ...

    @property
    def numbers(self) -> range:
        """Which they are."""
        ...

    def open(self, number: int, dial: Dial) -> OpenPort:
        """Listen on one of the numbers. Raises ConfigError when it can not be had."""
        ...
