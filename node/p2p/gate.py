"""Decides on every gossip message, synchronously and cheap things first; knows no libp2p, no clock and no socket.

Order: size, network and kind; the neighbour's rate; freshness; the sender's rate (only looked at); seen before;
both signatures; only then is the message remembered and the sender's rate charged. So a forged sender can neither
use up the rate of the true one nor hide its messages.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Final

from msgspec import Struct, field

from market.errors import BadMessage, BadSignature, StaleMessage
from market.messages import GOSSIP_KINDS, Header, check_fresh, open_envelope, read_header
from market.units import Address
from node.p2p.limits import Limits
from node.p2p.rates import Buckets

_MOST_ORIGINS: Final = 10_000
_MOST_SEQS: Final = 8_192


class Verdict(Enum):
    """ACCEPT passes on; IGNORE drops and blames nobody; FLOOD blames a little; REJECT is the neighbour's fault."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    FLOOD = "flood"
    REJECT = "reject"


class Arrival(Struct, frozen=True):
    """A message that `peer` forwarded; `origin` is who gossip says has sent it, and `is_signed` proves that."""

    peer: str
    origin: Address
    data: bytes
    is_signed: Callable[[], bool]


class _Seen(Struct):
    """The sequence numbers seen from one sender; everything at or below `floor` counts as seen."""

    floor: int = -1
    seqs: set[int] = field(default_factory=set)


class Gate:
    """The judge of gossip for one network; remembers what it let pass, so that nothing passes twice."""

    def __init__(self, network: bytes, limits: Limits) -> None:
        self._network = network
        self._max_ttl = limits.max_ttl * 1000
        self._peers = Buckets(limits.peer_rate, limits.peer_burst)
        self._origins = Buckets(limits.origin_rate, limits.origin_burst)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def judge(self, arrival: Arrival, now: int, clock: float) -> Verdict:
        """What to do with a message that arrives; `now` in epoch ms, `clock` in seconds."""
        try:
            return self._judge(arrival, now, clock)
        except (BadMessage, BadSignature):
            return Verdict.REJECT
        except StaleMessage:
            return Verdict.IGNORE

    def _judge(self, arrival: Arrival, now: int, clock: float) -> Verdict:
        header = read_header(arrival.data, self._network)
        if header.kind not in GOSSIP_KINDS or header.sender != arrival.origin:
            return Verdict.REJECT
        if not self._peers.take(arrival.peer, clock):
            return Verdict.FLOOD
        check_fresh(header, now)
        if header.expires_at - header.issued_at > self._max_ttl:
            return Verdict.IGNORE
        if not self._origins.has(header.sender, clock) or self._is_seen(header):
            return Verdict.IGNORE
        if not arrival.is_signed():
            return Verdict.REJECT
        open_envelope(arrival.data, self._network, now)
        self._origins.take(header.sender, clock)
        self._remember(header)
        return Verdict.ACCEPT

    def _is_seen(self, header: Header) -> bool:
        seen = self._seen.get(header.sender)
        return seen is not None and (header.seq <= seen.floor or header.seq in seen.seqs)

    def _remember(self, header: Header) -> None:
        seen = self._seen.setdefault(header.sender, _Seen())
        self._seen.move_to_end(header.sender)
        seen.seqs.add(header.seq)
        if len(seen.seqs) > _MOST_SEQS:
            keep = sorted(seen.seqs)[_MOST_SEQS // 2 :]
            seen.floor, seen.seqs = keep[0] - 1, set(keep)
        if len(self._seen) > _MOST_ORIGINS:
            self._seen.popitem(last=False)
