"""The names of the gossip topics: by network, by what is said, by class of machine and by region.

`neugrid/1/<network hex>/<offers|orders>/<cpu|gpu>/<region>`
"""

from collections.abc import Iterable
from itertools import product
from typing import Final
from urllib.parse import quote

from market.offers import Offer
from market.orders import Order

ANYWHERE: Final = "any"
"""The region of orders that may run anywhere; every node joins it."""


def offer_topic(network: bytes, offer: Offer) -> str:
    """Where an offer is published: a machine with GPUs is in the class "gpu", also while none of them is free."""
    return _topic(network, "offers", "gpu" if offer.total.gpus else "cpu", offer.region)


def order_topic(network: bytes, order: Order, home: str = ANYWHERE) -> str:
    """Where an order is published: its region, or `home` where the order names none."""
    return _topic(network, "orders", "gpu" if order.resources.gpus else "cpu", order.constraints.region or home)


def joined_topics(network: bytes, regions: Iterable[str]) -> tuple[str, ...]:
    """The topics a node of these regions joins: their offers and orders of both classes, and orders for anywhere."""
    own = dict.fromkeys(regions)
    pairs = [("offers", own), ("orders", {**own, ANYWHERE: None})]
    return tuple(
        _topic(network, what, kind, region) for what, names in pairs for kind, region in product(("cpu", "gpu"), names)
    )


def _topic(network: bytes, what: str, kind: str, region: str) -> str:
    return f"neugrid/1/{network.hex()}/{what}/{kind}/{quote(region, safe='')}"
