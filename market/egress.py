"""Which addresses and names a stranger's connection may have: nothing that is private to somebody, however spelled.

An own table and not `ipaddress.is_global`, which varies between versions of Python and lets carriers' networks, clouds'
internal services and IPv4 addresses in the clothes of IPv6 through. Sources: the IANA special-purpose registries
(RFC 6890 and its updates), the multicast and reserved blocks, and the internal addresses that clouds publish.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_address
from typing import Final

FORBIDDEN4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host agent, on a public address
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks; our own bridges
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
FORBIDDEN6: Final = tuple(
    IPv6Network(block)
    for block in (
        "::/3",  # loopback, mapped and compatible IPv4, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "4000::/2",  # unassigned
        "8000::/1",  # unassigned, unique local (metadata at fd00:ec2::254), link-local, site-local, multicast
    )
)
CLOSED_PORTS: Final = (25, 465, 587)
"""Mail: what an abused machine is listed for first."""


def is_forbidden(address: str) -> bool:
    """Whether nobody's workload or webhook may connect there; also true for what is no address at all.

    The strict spelling only: `127.1` or `0x7f000001` are none, so what a resolver made of them has to be asked about.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return True
    if isinstance(found, IPv4Address):
        return any(found in block for block in FORBIDDEN4)
    return found.scope_id is not None or any(found in block for block in FORBIDDEN6)


def is_named(name: str, hosts: Iterable[str]) -> bool:
    """Whether `name` is one of the hosts; a host does not stand for its subdomains."""
    return name.removesuffix(".").lower() in hosts


def without_overlap(networks: Iterable[str]) -> tuple[str, ...]:
    """IPv4 networks and addresses as the fewest networks that cover the same, sorted."""
    return tuple(str(block) for block in collapse_addresses(IPv4Network(text) for text in networks))
