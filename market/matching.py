"""When an offer serves an order: every constraint by name, and the match that comes of it."""

from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from market.offers import Offer
from market.orders import Order
from market.resources import misfits, price_of
from market.units import Rate

CONSTRAINTS: Final = (
    "cpu", "memory", "disk", "gpus", "gpu_model", "vram", "region", "isolation", "capabilities",
    "reputation", "avoided", "provider", "price",
)  # fmt: skip
"""The names of all constraints an offer can fail, in the order in which they are listed."""


class Match(Struct, frozen=True):
    """An offer that serves an order, at `rate` for the order's resources (1e-9 base units per second)."""

    offer: Offer
    rate: Rate


def is_live(thing: Offer | Order, now: int) -> bool:
    """Whether it has not expired at `now` (epoch ms)."""
    return now < thing.expires_at


def has_place(order: Order, offer: Offer) -> bool:
    """Whether the offer's region, tier, capabilities and provider suit the order; reputation is not looked at."""
    wanted = order.constraints
    return (
        wanted.region in ("", offer.region)
        and wanted.isolation in ("", offer.isolation)
        and offer.provider not in wanted.avoid
        and (not wanted.only or offer.provider in wanted.only)
        and has_all(wanted.needs, offer.capabilities)
    )


def has_all(needs: Collection[str], capabilities: Collection[str]) -> bool:
    """Whether all needs are among the capabilities."""
    return not needs or set(needs) <= set(capabilities)


def shortcomings(order: Order, offer: Offer, scores: Mapping[str, int]) -> tuple[str, ...]:
    """The names of the constraints of `order` that `offer` fails; empty when it matches. Expiry is not looked at.

    `scores` maps providers to their reputation 0..1000; an unknown provider counts as 0.
    """
    wanted, found = order.constraints, list(misfits(order.resources, offer.free))
    if wanted.region not in ("", offer.region):
        found.append("region")
    if wanted.isolation not in ("", offer.isolation):
        found.append("isolation")
    if not has_all(wanted.needs, offer.capabilities):
        found.append("capabilities")
    if scores.get(offer.provider, 0) < wanted.min_reputation:
        found.append("reputation")
    if offer.provider in wanted.avoid:
        found.append("avoided")
    if wanted.only and offer.provider not in wanted.only:
        found.append("provider")
    if price_of(order.resources, offer.prices) > order.max_rate:
        found.append("price")
    return tuple(found)
