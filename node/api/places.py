"""Who is one client, and how many connections there may be at a time, from one client and in all."""

from collections import Counter
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from msgspec import Struct

_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_ENOUGH: Final = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Room(Struct, frozen=True):
    """Connections at a time, in all and for each client. Reverse proxies of ours stand for many clients."""

    connections: int = 8192
    each: int = 1024
    proxies: tuple[str, ...] = ()


USUAL: Final = Room()


@lru_cache(maxsize=4096)
def client_at(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that a network gives to one customer at the least."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((int(found), 64), strict=False))


class Places:
    """Counts connections; those of proxies are counted in all alone."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken: Counter[str] = Counter()
        self._total = 0
        self._proxies = []
        for proxy in room.proxies:
            with suppress(ValueError):  # a name, which no connection comes from
                self._proxies.append(ip_network(proxy, strict=False))

    def take(self, address: str) -> bytes:
        """Count a connection from there; where there is no room nothing is counted, and the answer is returned."""
        client = client_at(address)
        if self._total >= self._room.connections:
            return _FULL
        if self._taken[client] >= self._room.each and not self._is_proxy(address):
            return _ENOUGH
        self._taken[client] += 1
        self._total += 1
        return b""

    def give_back(self, address: str) -> None:
        """The connection has ended."""
        client = client_at(address)
        self._taken[client] -= 1
        self._total -= 1
        if self._taken[client] <= 0:
            del self._taken[client]

    def _is_proxy(self, address: str) -> bool:
        with suppress(ValueError):
            found = ip_address(address)
            return any(found in network for network in self._proxies)
        return False
