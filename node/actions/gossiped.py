"""What of gossip may enter the book: only what its owner signed, for no longer than an hour, and no more than fits."""

from collections import Counter
from typing import Final

from market.errors import BadMessage
from market.messages import Envelope
from market.offers import Offer, offer_prefix
from market.orders import Order

MAX_LIFE: Final = 3_600_000
"""How long an offer or order may be valid in gossip, in ms; who wants more posts it anew in time."""
MOST: Final = 250_000
"""So many offers, or orders, are held in all..."""
MOST_OF_ONE: Final = 4096
"""...and so many of one account."""


def check_offers(envelope: Envelope, offers: tuple[Offer, ...], now: int) -> None:
    """BadMessage unless the sender may offer all of this."""
    prefix = offer_prefix(envelope.sender)
    for offer in offers:
        if offer.provider != envelope.sender:
            raise BadMessage("an offer must be signed by its provider", sender=envelope.sender)
        if not offer.id.startswith(prefix):
            raise BadMessage("an offer's id begins with its provider's address", expected=prefix, got=offer.id)
        _check_life(envelope, offer, now)


def check_order(envelope: Envelope, order: Order, now: int) -> None:
    """BadMessage unless the sender may post this."""
    if order.requester != envelope.sender:
        raise BadMessage("an order must be signed by its requester", sender=envelope.sender)
    _check_life(envelope, order, now)


def _check_life(envelope: Envelope, thing: Offer | Order, now: int) -> None:
    latest = min(envelope.expires_at, now + MAX_LIFE)
    if thing.expires_at > latest:
        raise BadMessage("it lives longer than its message, or than an hour", expected=latest, got=thing.expires_at)


class Quota:
    """How many things of each owner are held; whoever comes last does not get in when it is full."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._owners: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._owners)

    def has_room(self, id: str, owner: str) -> bool:
        """Whether this thing is held already, or one more of its owner fits."""
        return id in self._owners or (len(self._owners) < self._most and self._counts[owner] < self._most_of_one)

    def add(self, id: str, owner: str) -> None:
        """It is held from now on; a second time changes nothing."""
        if id not in self._owners:
            self._owners[id] = owner
            self._counts[owner] += 1

    def discard(self, id: str) -> None:
        """It is held no more."""
        owner = self._owners.pop(id, None)
        if owner is None:
            return
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]
