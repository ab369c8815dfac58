"""The market in numbers: what live offers ask, and how much there is."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from market.gpus import gpu_model
from market.matching import is_live
from market.offers import Offer
from market.orders import Order
from market.units import Rate


class PriceRange(Struct, frozen=True, kw_only=True):
    """Least, mean (rounded down) and greatest ask, in 1e-9 base units per second and unit."""

    min: Rate
    avg: Rate
    max: Rate


class MarketPrices(Struct, frozen=True, kw_only=True):
    """Asks per core, per GiB of memory and, by model, per GPU; None where nothing is offered."""

    cpu: PriceRange | None
    memory: PriceRange | None
    gpu: dict[str, PriceRange]


class Amounts(Struct, frozen=True, kw_only=True):
    """Sums over machines: milli-cores, bytes, bytes, and GPUs by model."""

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    gpus: dict[str, int] = {}


class MarketStats(Struct, frozen=True, kw_only=True):
    """Counts of what is live, what is offered in total and free, and offers by region."""

    offers: int
    providers: int
    orders: int
    total: Amounts
    free: Amounts
    regions: dict[str, int]


def price_ranges(offers: Iterable[Offer], now: int) -> MarketPrices:
    """The range of asks over the offers that are live at `now`; GPU prices of machines with GPUs only."""
    live = [offer for offer in offers if is_live(offer, now)]
    by_model: dict[str, list[int]] = {}
    for offer in live:
        if offer.total.gpus:
            by_model.setdefault(gpu_model(offer.total.gpu_model), []).append(offer.prices.gpu)
    return MarketPrices(
        cpu=_range([offer.prices.cpu for offer in live]),
        memory=_range([offer.prices.memory for offer in live]),
        gpu={model: found for model, asks in sorted(by_model.items()) if (found := _range(asks))},
    )


def _range(asks: list[int]) -> PriceRange | None:
    if not asks:
        return None
    return PriceRange(min=Rate(min(asks)), avg=Rate(sum(asks) // len(asks)), max=Rate(max(asks)))


def totals(offers: Iterable[Offer], orders: Iterable[Order], now: int) -> MarketStats:
    """The counts and sums over what is live at `now`."""
    live = [offer for offer in offers if is_live(offer, now)]
    return MarketStats(
        offers=len(live),
        providers=len({offer.provider for offer in live}),
        orders=sum(is_live(order, now) for order in orders),
        total=_sum(live, "total"),
        free=_sum(live, "free"),
        regions=dict(sorted(Counter(offer.region for offer in live).items())),
    )


def _sum(offers: list[Offer], which: str) -> Amounts:
    machines = [getattr(offer, which) for offer in offers]
    gpus: Counter[str] = Counter()
    for machine in machines:
        gpus[gpu_model(machine.gpu_model)] += machine.gpus
    return Amounts(
        cpu=sum(machine.cpu for machine in machines),
        memory=sum(machine.memory for machine in machines),
        disk=sum(machine.disk for machine in machines),
        gpus={model: count for model, count in sorted(gpus.items()) if count},
    )
