"""Rules at the network card of a namespace whose processes may write packets by themselves (CAP_NET_RAW).

Such packets never pass the namespace's own output chain. The card's egress hook (Linux 5.16) sees them all, whoever
made them: here they keep to their own addresses, and to places that the policy "web" admits. Pure text for nft.
"""

from collections.abc import Sequence
from typing import Final

from market.egress import CLOSED_PORTS, FORBIDDEN4, without_overlap

TABLE: Final = "netdev neugrid"
CARD: Final = "eth0"


def card_rules(address: str, hardware: str, own: Sequence[str], card: str = CARD) -> str:
    """The script for a card with these IPv4 and hardware addresses; `own` as in `rules`.

    What a packet says of its kind and what its sender told the kernel are two things: both must be IPv4.
    """
    forbidden = ", ".join(without_overlap([*map(str, FORBIDDEN4), *own]))
    ports = ", ".join(map(str, CLOSED_PORTS))
    return f"""\
table {TABLE} {{}}
delete table {TABLE}
table {TABLE} {{
  set forbidden {{ type ipv4_addr; flags interval; elements = {{ {forbidden} }}; }}
  chain leaving {{
    type filter hook egress device "{card}" priority 0; policy drop;
    ether saddr != {hardware} drop
    meta protocol arp ether type arp arp saddr ether {hardware} arp saddr ip {address} accept
    meta protocol != ip drop
    @ll,96,16 != 0x0800 drop
    ip saddr != {address} drop
    ip hdrlength != 5 drop
    ip frag-off & 0x3fff != 0 drop
    ip daddr @forbidden drop
    ip protocol != {{ tcp, udp }} drop
    tcp dport {{ {ports} }} drop
    accept
  }}
}}
"""
