"""From which hosts repositories are cloned, and at which address: public ones, and private ones that are listed."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from market.egress import CLOSED_PORTS, is_forbidden
from market.errors import Refused
from node.adapters.egress.host import KERNEL, is_within, own_networks
from node.adapters.names import Names

HTTPS = 443


class Place(Struct, frozen=True):
    """The host and port that a URL names, and the address to connect to."""

    host: str
    port: int
    address: str


class RepositoryHosts:
    """`private` are "host", "host:port" or either with "=address": served although they are no public places."""

    def __init__(self, private: Sequence[str] = (), kernel: Path = KERNEL) -> None:
        self._private = dict(map(_listed, private))
        self._kernel = kernel
        self._names = Names()

    async def place_of(self, url: str) -> Place:
        """Where the repository is; Refused (NO_SUCH_HOST, PRIVATE_HOST) when it is not cloned from there."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or HTTPS
        listed = self._private.get((host, port))
        if listed:
            return Place(host, port, listed)
        addresses = await self._addresses(host, port)
        if not addresses:
            raise Refused(f"there is no host {host}", codes=("NO_SUCH_HOST",))
        if listed is None:
            await self._check(host, port, addresses)
        return Place(host, port, addresses[0])

    async def _check(self, host: str, port: int, addresses: Sequence[str]) -> None:
        own = await asyncio.to_thread(_own, self._kernel)
        if port in CLOSED_PORTS or any(is_forbidden(address) or is_within(address, own) for address in addresses):
            raise Refused(f"{host}:{port} is no public place, and not listed here", codes=("PRIVATE_HOST",))

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._names.resolved(host, port, socket.AF_INET)
        except (OSError, UnicodeError):
            return ()


def _listed(text: str) -> tuple[tuple[str, int], str]:
    """(host, port) and the address, "" where the host's own name settings know it."""
    place, _, address = text.partition("=")
    host, _, port = place.partition(":")
    return (host, int(port or HTTPS)), address


def _own(kernel: Path) -> tuple[str, ...]:
    try:
        return own_networks(kernel)
    except OSError:
        return ()
