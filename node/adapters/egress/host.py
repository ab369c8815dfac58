"""Which networks are the host's own and its neighbours', as the kernel tells: also where they are public ones."""

import random
import re
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

from msgspec import Struct

KERNEL: Final = Path("/proc/net")
LEAST_PREFIX: Final = 8
"""A wider route stands for "everything else" (VPNs write the default route as two halves), not for neighbours."""
POOL: Final = IPv4Network("198.19.0.0/16")
"""Our bridges' addresses: set aside for benchmarks, so hardly any network has them, and forbidden to workloads."""
_LOCAL: Final = re.compile(r"\|-- ([0-9.]{7,15})\n +/32 host LOCAL")


class Route(Struct, frozen=True):
    """A line of the routing table; `is_direct` when there is no gateway in between."""

    network: IPv4Network
    is_direct: bool


def routes_of(table: str) -> tuple[Route, ...]:
    """The routes in the text of /proc/net/route, less those that stand for everything else."""
    lines = [line.split() for line in table.splitlines()[1:]]
    found = [Route(_network(line[1], line[7]), line[2] == "00000000") for line in lines if len(line) > 7]
    return tuple(route for route in found if route.network.prefixlen >= LEAST_PREFIX)


def addresses_of(trie: str) -> tuple[str, ...]:
    """The host's own addresses in the text of /proc/net/fib_trie."""
    return tuple(sorted(set(_LOCAL.findall(trie))))


def own_networks(kernel: Path = KERNEL) -> tuple[str, ...]:
    """The host's IPv4 addresses, and the IPv4 networks that it is in."""
    routes = routes_of((kernel / "route").read_text())
    direct = {str(route.network) for route in routes if route.is_direct}
    return tuple(sorted(direct | set(addresses_of((kernel / "fib_trie").read_text()))))


def own_networks6(kernel: Path = KERNEL) -> tuple[str, ...]:
    """The IPv6 networks that it is in, from /proc/net/if_inet6; none where the kernel speaks no IPv6."""
    try:
        lines = (kernel / "if_inet6").read_text().splitlines()
    except FileNotFoundError:
        return ()
    found = [(int(line[0], 16), int(line[2], 16)) for line in map(str.split, lines) if len(line) > 2]
    narrow = [(address, prefix if prefix >= LEAST_PREFIX else 128) for address, prefix in found]
    return tuple(sorted({str(IPv6Network(each, strict=False)) for each in narrow}))


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Whether one of the networks has the address."""
    found = ip_address(address)
    return any(found in ip_network(network) for network in networks)


def free_subnets(kernel: Path = KERNEL) -> tuple[str, ...]:
    """Subnets of the pool that the host has no route into, in an order of chance: nodes choose at the same time."""
    taken = [route.network for route in routes_of((kernel / "route").read_text())]
    free = [str(subnet) for subnet in POOL.subnets(new_prefix=24) if not any(map(subnet.overlaps, taken))]
    return tuple(random.sample(free, len(free)))


def _network(destination: str, mask: str) -> IPv4Network:
    """Both are numbers in hex, in the byte order of the machine."""
    address, netmask = (socket.inet_ntoa(struct.pack("=I", int(text, 16))) for text in (destination, mask))
    return IPv4Network((address, netmask))
