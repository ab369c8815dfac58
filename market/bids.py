"""A provider's sealed, binding answer to an order, and which of several answers is the best value."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from market.offers import AddressText, Id, Millis, ShortText
from market.orders import Constraints


class Bid(Struct, frozen=True, kw_only=True):
    """A binding answer to one order: `rate` in 1e-9 base units per second, `start_within` seconds after commit."""

    order: Id
    provider: AddressText
    payee: AddressText
    peer: ShortText
    rate: Annotated[int, Meta(ge=0, le=2**60)]
    start_within: Annotated[int, Meta(ge=0, le=86_400)]
    notice: Annotated[int, Meta(ge=0, le=86_400)] = 0
    benchmark: Annotated[int, Meta(ge=0, le=2**40)] = 0
    expires_at: Millis


def is_let_in(provider: str, wanted: Constraints) -> bool:
    """Whether the order takes bids of this provider at all, whatever its reputation."""
    return provider not in wanted.avoid and (not wanted.only or provider in wanted.only)


def is_eligible(bid: Bid, wanted: Constraints, scores: dict[str, int]) -> bool:
    """Whether the order's constraints on whom to deal with let this provider in; offers pass the same ones."""
    return is_let_in(bid.provider, wanted) and scores.get(bid.provider, 0) >= wanted.min_reputation


def best_first(bids: Iterable[Bid], max_rate: int, scores: dict[str, int]) -> list[Bid]:
    """The bids within `max_rate`, best value first: lowest rate, then highest score, then earliest start.

    `scores` maps a provider's address to its reputation 0..1000; an unknown provider counts as 0.
    """
    fitting = [bid for bid in bids if bid.rate <= max_rate]
    return sorted(fitting, key=lambda bid: (bid.rate, -scores.get(bid.provider, 0), bid.start_within, bid.provider))
