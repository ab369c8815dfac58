"""The packet rules of a workload's network namespace, as a script for nft; pure text.

They stand in the namespace's own output chain, so they do not depend on the host's firewall, and the workload has no
capability to look at them or change them. The script replaces the whole table in one transaction: either all of it
stands or nothing changes.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from market.egress import CLOSED_PORTS, FORBIDDEN4, without_overlap

TABLE: Final = "inet neugrid"
ENGINES_RESOLVER: Final = "127.0.0.11"
"""The engine puts a resolver of its own into every namespace, which would answer for all names, private ones too."""
MAX_NAMED: Final = 4096
REJECT: Final = "reject with icmpx admin-prohibited"
"""Refused at once and not only dropped, so that a program need not wait to learn it."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one workload may put on the provider's line: new connections a second, connections, bytes a second."""

    new: int = 20
    burst: int = 40
    connections: int = 2000
    bandwidth: int = 0
    """Each way; 0 is without limit. What is over it is dropped."""


def rules(policy: str, own: Sequence[str], limits: Limits) -> str:
    """The script for policy "web" or "list"; `own` are the IPv4 networks of the host and its neighbours."""
    return f"""\
table {TABLE} {{}}
delete table {TABLE}
table {TABLE} {{
  set forbidden {{ type ipv4_addr; flags interval; elements = {{ {", ".join(map(str, FORBIDDEN4))} }}; }}
  set own {{ type ipv4_addr; flags interval; {_elements(own)} }}
  set named {{ type ipv4_addr; flags timeout; size {MAX_NAMED}; }}
{_inward(limits)}
{_outward(policy, limits)}
}}
"""


def admission(addresses: Sequence[str], seconds: int) -> str:
    """The script that opens `addresses` for `seconds` from now, longer where they were open before."""
    whole = ", ".join(addresses)
    timed = ", ".join(f"{address} timeout {seconds}s" for address in addresses)
    return f"""\
add element {TABLE} named {{ {whole} }}
delete element {TABLE} named {{ {whole} }}
add element {TABLE} named {{ {timed} }}
"""


def moved(own: Sequence[str]) -> str:
    """The script that says anew which networks are the host's."""
    script = f"flush set {TABLE} own\n"
    return script + (f"add element {TABLE} own {{ {', '.join(without_overlap(own))} }}\n" if own else "")


def _elements(networks: Sequence[str]) -> str:
    return f"elements = {{ {', '.join(without_overlap(networks))} }};" if networks else ""


def _capped(bandwidth: int) -> str:
    return (
        f"limit rate over {bandwidth} bytes/second burst {max(bandwidth // 4, 65_536)} bytes drop" if bandwidth else ""
    )


def _inward(limits: Limits) -> str:
    """Answers to what was begun inside come in, nothing else does; DNS goes to the resolver, whatever its address."""
    return f"""\
  chain names {{
    type nat hook output priority -110; policy accept;
    ip daddr != 127.0.0.1 udp dport 53 redirect to :53
  }}
  chain through {{
    type filter hook forward priority 0; policy drop;
  }}
  chain inward {{
    type filter hook input priority 0; policy drop;
    iif lo accept
    {_capped(limits.bandwidth)}
    ct state established,related accept
  }}"""


def _outward(policy: str, limits: Limits) -> str:
    """What may go out, in the order of the questions; a connection that became forbidden is cut, not only not begun.

    The last chain asks again where a packet really goes: a socket bound to an interface leaves by it even when its
    packet was turned to the resolver.
    """
    unnamed = f"ip daddr != @named {REJECT}" if policy == "list" else ""
    return f"""\
  chain outward {{
    type filter hook output priority 0; policy drop;
    ip daddr {ENGINES_RESOLVER} drop
    oif lo accept
    ct status dnat ip daddr 127.0.0.1 udp dport 53 accept
    meta nfproto != ipv4 {REJECT}
    ip option lsrr exists drop
    ip option ssrr exists drop
    ip daddr @forbidden {REJECT}
    ip daddr @own {REJECT}
    tcp dport {{ {", ".join(map(str, CLOSED_PORTS))} }} reject with tcp reset
    {_capped(limits.bandwidth)}
    ct state established,related accept
    ct state != new drop
    meta l4proto != {{ tcp, udp }} {REJECT}
    {unnamed}
    ct count over {limits.connections} {REJECT}
    limit rate over {limits.new}/second burst {limits.burst} packets drop
    accept
  }}
  chain leaving {{
    type filter hook postrouting priority 0; policy accept;
    oif lo accept
    ip daddr @forbidden drop
    ip daddr @own drop
  }}"""
