"""Why offers do not match an order, and the least that must be given up so that they do: before anything is paid."""

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Final

from msgspec import Struct

from market.matching import CONSTRAINTS, is_live, shortcomings
from market.offers import Offer
from market.orders import Order
from market.resources import price_of
from market.units import Rate

MAX_REASONS: Final = 50


class Reasons(Struct, frozen=True, kw_only=True):
    """The constraints that one offer fails (none: it matches), and its rate for the order's resources."""

    offer: str
    provider: str
    reasons: tuple[str, ...]
    rate: Rate


class RateRange(Struct, frozen=True, kw_only=True):
    """Least, median and greatest rate for the order's resources over the offers that fit but for the price."""

    min: Rate
    p50: Rate
    max: Rate


class Relaxation(Struct, frozen=True, kw_only=True):
    """One constraint changed from `asked` to `needed` ("" = dropped) makes `matches` offers match.

    `change` is the step in thousandths of what was asked; a dropped constraint counts as 1000.
    """

    constraint: str
    asked: int | str
    needed: int | str
    matches: int
    change: int


class Explanation(Struct, frozen=True, kw_only=True):
    """How the live offers stand to an order: counts by failed constraint, the nearest offers, and what would help."""

    live: int
    matching: int
    failing: dict[str, int]
    offers: tuple[Reasons, ...]
    """The nearest to a match first, at most 50."""
    rates: RateRange | None
    relaxations: tuple[Relaxation, ...]
    """The smallest step first; each alone suffices."""


class _Judged(Struct, frozen=True):
    """An offer with its rate and what it fails."""

    offer: Offer
    rate: Rate
    reasons: tuple[str, ...]


def explain(order: Order, offers: Iterable[Offer], now: int, scores: Mapping[str, int], wanted: int = 1) -> Explanation:
    """How the offers that are live at `now` stand to the order, and what makes at least `wanted` of them match."""
    need = order.resources
    judged = [
        _Judged(offer, price_of(need, offer.prices), shortcomings(order, offer, scores))
        for offer in offers
        if is_live(offer, now)
    ]
    counts = Counter(reason for each in judged for reason in each.reasons)
    nearest = nsmallest(MAX_REASONS, judged, key=lambda each: (len(each.reasons), each.rate, each.offer.id))
    return Explanation(
        live=len(judged),
        matching=sum(not each.reasons for each in judged),
        failing={name: counts[name] for name in CONSTRAINTS if counts[name]},
        offers=tuple(_reasons(each) for each in nearest),
        rates=_rates(judged),
        relaxations=_relaxations(order, judged, scores, wanted),
    )


def _reasons(judged: _Judged) -> Reasons:
    return Reasons(offer=judged.offer.id, provider=judged.offer.provider, reasons=judged.reasons, rate=judged.rate)


def _rates(judged: list[_Judged]) -> RateRange | None:
    rates = sorted(each.rate for each in judged if each.reasons in ((), ("price",)))
    if not rates:
        return None
    return RateRange(min=rates[0], p50=rates[(len(rates) - 1) // 2], max=rates[-1])


def _relaxations(order: Order, judged: list[_Judged], scores: Mapping[str, int], wanted: int) -> tuple[Relaxation, ...]:
    """For each constraint that alone keeps enough offers out: the least change that lets `wanted` match."""
    matching = sum(not each.reasons for each in judged)
    lacking = wanted - matching
    if lacking <= 0:
        return ()
    alone: dict[str, list[_Judged]] = {}
    for each in judged:
        if len(each.reasons) == 1:
            alone.setdefault(each.reasons[0], []).append(each)
    steps = [
        _step(order, constraint, [_value(each, constraint, scores) for each in alone[constraint]], lacking, matching)
        for constraint in CONSTRAINTS
        if len(alone.get(constraint, ())) >= lacking
    ]
    return tuple(sorted(steps, key=lambda step: step.change))


def _value(judged: _Judged, constraint: str, scores: Mapping[str, int]) -> int:
    """What the offer has of a numeric constraint; 0 for one that can only be dropped."""
    if constraint == "price":
        return judged.rate
    if constraint == "reputation":
        return scores.get(judged.offer.provider, 0)
    value = getattr(judged.offer.free, constraint, 0)
    return value if isinstance(value, int) else 0


def _step(order: Order, constraint: str, values: list[int], lacking: int, matching: int) -> Relaxation:
    """The least step on `constraint` that wins `lacking` of the offers whose values are given."""
    asked = _asked(order, constraint)
    if isinstance(asked, str):
        return Relaxation(constraint=constraint, asked=asked, needed="", matches=matching + len(values), change=1000)
    is_cap = constraint == "price"
    needed = sorted(values, reverse=not is_cap)[lacking - 1]
    won = sum(value <= needed if is_cap else value >= needed for value in values)
    change = abs(needed - asked) * 1000 // max(1, asked)
    return Relaxation(constraint=constraint, asked=asked, needed=needed, matches=matching + won, change=change)


def _asked(order: Order, constraint: str) -> int | str:
    need, wanted = order.resources, order.constraints
    asked: dict[str, int | str] = {
        "cpu": need.cpu,
        "memory": need.memory,
        "disk": need.disk,
        "gpus": need.gpus,
        "gpu_model": need.gpu_model,
        "vram": need.vram,
        "region": wanted.region,
        "isolation": wanted.isolation,
        "reputation": wanted.min_reputation,
        "capabilities": ",".join(wanted.needs),
        "avoided": ",".join(wanted.avoid),
        "provider": ",".join(wanted.only),
        "price": order.max_rate,
    }
    return asked[constraint]
