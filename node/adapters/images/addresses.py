"""Which addresses a stranger's words may lead this node to: pure, and one look into DNS."""

import asyncio
import ipaddress
import socket
from typing import Final

MAX_ADDRESSES: Final = 4
_TUNNELS: Final = tuple(
    ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
"""IPv6 addresses that carry an IPv4 one, which may be private."""


async def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """The first few addresses of a host by name or number; none when it has none. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]


def is_public(text: str) -> bool:
    """Whether an address is a stranger's on the internet: not loopback, private, shared, link-local, multicast."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if any(address in net for net in _TUNNELS):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
