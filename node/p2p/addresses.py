"""Multiaddrs as text, read without libp2p: `/ip4/203.0.113.7/tcp/4001/p2p/16Uiu2H...`."""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

_HOSTS: Final = frozenset({"ip4", "ip6", "dns4", "dns6", "dns"})
MAX_ADDRESS: Final = 256


def split_peer(address: str) -> tuple[str, str | None]:
    """The address without its `/p2p/<peer id>`, and that peer id or None."""
    place, found, peer = address.partition("/p2p/")
    return place, peer if found else None


def ip_and_port(address: str) -> tuple[str, int] | None:
    """The IP and TCP port of an address; None when it has another shape."""
    host = host_and_port(address)
    if host is None or host[0] not in ("ip4", "ip6"):
        return None
    return host[1], host[2]


def host_and_port(address: str) -> tuple[str, str, int] | None:
    """Kind of host, host and TCP port; None when the address is not `/<ip4|ip6|dns..>/<host>/tcp/<port>`."""
    parts = split_peer(address)[0].split("/")
    if len(parts) != 5 or parts[0] or parts[1] not in _HOSTS or parts[3] != "tcp" or len(address) > MAX_ADDRESS:
        return None
    if not parts[4].isascii() or not parts[4].isdigit() or int(parts[4]) > 65535 or not _is_host(parts[1], parts[2]):
        return None
    return parts[1], parts[2], int(parts[4])


def _is_host(kind: str, text: str) -> bool:
    if kind.startswith("dns"):
        return 0 < len(text) <= 253
    try:
        return ipaddress.ip_address(text).version == int(kind[2])
    except ValueError:
        return False


def is_dialable(address: str) -> bool:
    """Whether somebody could connect to it: a shape we know, a port, and no "all interfaces"."""
    host = host_and_port(address)
    if host is None or host[2] == 0:
        return False
    return host[0].startswith("dns") or not ipaddress.ip_address(host[1]).is_unspecified


def may_hear(address: str, from_ip: str) -> bool:
    """Whether a peer at `from_ip` may tell us `address`: a stranger must not send us to our own network."""
    host = host_and_port(address)
    if host is None or host[0].startswith("dns"):
        return host is not None
    return _reach(host[1]) >= _reach(from_ip)


def _reach(ip: str) -> int:
    """0 for this machine, 1 for a private network, 2 for the world."""
    try:
        address = ipaddress.ip_address(ip.split("%")[0])
    except ValueError:
        return 2
    if address.is_loopback:
        return 0
    return 1 if address.is_private or address.is_link_local else 2


def reachable(listen: Iterable[str]) -> tuple[str, ...]:
    """`listen` with "all interfaces" replaced by this machine's address and loopback."""
    found: list[str] = []
    for address in listen:
        place = ip_and_port(address)
        if place is None or not ipaddress.ip_address(place[0]).is_unspecified:
            found.append(address)
        else:
            found += [f"/ip{6 if ':' in ip else 4}/{ip}/tcp/{place[1]}" for ip in _own_ips(":" in place[0])]
    return tuple(dict.fromkeys(found))


def _own_ips(is_six: bool) -> list[str]:
    """The address that a packet to the world would leave from (none is sent), and loopback."""
    family, world, loopback = (
        (socket.AF_INET6, "2001:db8::1", "::1") if is_six else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((world, 9))
            return [str(probe.getsockname()[0]), loopback]
        except OSError:
            return [loopback]
