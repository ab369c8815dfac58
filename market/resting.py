"""Resting orders, shelved by where they may run, so that an offer meets only those that can concern it."""

from itertools import product

from market.gpus import gpu_model
from market.matching import has_place, is_live
from market.offers import Offer
from market.orders import Order
from market.resources import misfits, price_of

Shelf = tuple[str, str, str]
"""Region, isolation tier and GPU model that the orders on it ask for; "" = any, and "-" = no GPU at all."""


def _shelf_of(order: Order) -> Shelf:
    need, wanted = order.resources, order.constraints
    return wanted.region, wanted.isolation, gpu_model(need.gpu_model) if need.gpus else "-"


class RestingOrders:
    """Orders by id on shelves. Mutable, inside the order book."""

    def __init__(self) -> None:
        self._shelves: dict[Shelf, dict[str, Order]] = {}

    def add(self, order: Order) -> None:
        """Shelve an order whose id is not here."""
        self._shelves.setdefault(_shelf_of(order), {})[order.id] = order

    def discard(self, order: Order) -> None:
        """Take it off its shelf."""
        shelf = self._shelves[_shelf_of(order)]
        del shelf[order.id]
        if not shelf:
            del self._shelves[_shelf_of(order)]

    def crossing(self, offer: Offer, now: int) -> list[Order]:
        """The live orders that the offer could serve within their cap: best paid first, then oldest.

        Reputation is not looked at: the floor is the requester's to apply, by its own scores.
        """
        shelves = product({"", offer.region}, {"", offer.isolation}, {"-", "", gpu_model(offer.free.gpu_model)})
        orders = (order for shelf in shelves for order in self._shelves.get(shelf, {}).values())
        serveable = [order for order in orders if _could_serve(offer, order, now)]
        return sorted(serveable, key=lambda order: (-order.max_rate, order.issued_at, order.id))


def _could_serve(offer: Offer, order: Order, now: int) -> bool:
    return (
        price_of(order.resources, offer.prices) <= order.max_rate
        and not misfits(order.resources, offer.free)
        and has_place(order, offer)
        and is_live(order, now)
    )
