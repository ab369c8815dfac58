"""What a provider asks and bids: a function of its policy, its load and its cost.

The ask rises with the load from the base prices to `surge` times the base. The floor, under which nothing is bid,
rises with the load from `floor` times the base to the base itself: an idle machine gives more way than a busy one.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from market.matching import has_all, is_live
from market.orders import Order
from market.resources import Prices, Resources, misfits, price_of
from market.units import Rate, Timestamp

WHOLE: Final = 1000
"""Thousandths in one."""
MAX_PRICE: Final = 2**60


class PricingPolicy(Struct, frozen=True, kw_only=True):
    """A provider's rules. `floor` and `surge` in thousandths of `base`, durations and starts in seconds."""

    base: Prices
    cost: Prices = Prices(cpu=0, memory=0)
    """What serving costs the provider itself: nothing is bid below it."""
    share: Annotated[int, Meta(ge=1, le=1000)] = 1000
    """The part of the machine that is sold, in thousandths."""
    floor: Annotated[int, Meta(ge=0, le=1000)] = 700
    surge: Annotated[int, Meta(ge=1000, le=10_000)] = 1000
    min_rate: Rate = Rate(0)
    """No lease for less than this, however small."""
    min_duration: int = 1
    max_duration: int = 7 * 86_400
    max_leases: int = 64
    regions: tuple[str, ...] = ("local",)
    isolations: tuple[str, ...] = ("hardened",)
    capabilities: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    """Requesters, by address, that are not served."""
    start_within: int = 30
    """Promised start of a lease with nothing queued; each queued one adds as much."""
    notice: int = 0


class Ask(Struct, frozen=True, kw_only=True):
    """Prices that a provider set by hand until `expires_at` (epoch ms, 0 = until it takes them back)."""

    id: str
    prices: Prices
    created_at: int
    expires_at: int = 0


class Load(Struct, frozen=True, kw_only=True):
    """What a machine has and what is free of it, leases that run, and leases that wait to start."""

    total: Resources
    free: Resources
    running: int = 0
    queue: int = 0


class BidTerms(Struct, frozen=True, kw_only=True):
    """What the provider offers for an order: rate in 1e-9 base units per second, start and notice in seconds."""

    rate: Rate
    start_within: int
    notice: int


class Refusal(Struct, frozen=True, kw_only=True):
    """Why there is no bid: codes, the resources that lack, and the lowest rate the provider would take now."""

    reasons: tuple[str, ...]
    lacking: tuple[str, ...] = ()
    floor: Rate


def utilisation(load: Load) -> int:
    """The share of the scarcest of cpu, memory and GPUs that is sold, in thousandths."""
    pairs = [(getattr(load.total, name), getattr(load.free, name)) for name in ("cpu", "memory", "gpus")]
    return max((WHOLE * (total - min(free, total)) // total for total, free in pairs if total), default=WHOLE)


def stands(ask: Ask, now: int) -> bool:
    """Whether the ask holds at `now` (epoch ms)."""
    return not 0 < ask.expires_at <= now


def by_hand(policy: PricingPolicy, ask: Ask | None) -> PricingPolicy:
    """The policy under an ask that stands: its prices are asked whatever the load, and nothing is bid below them."""
    return policy if ask is None else replace(policy, base=ask.prices, floor=WHOLE, surge=WHOLE)


def asking_prices(policy: PricingPolicy, load: Load) -> Prices:
    """The prices of the standing offer under this load, rounded up."""
    used = utilisation(load)
    return _scaled(policy.base, WHOLE + (policy.surge - WHOLE) * used // WHOLE)


def floor_prices(policy: PricingPolicy, load: Load) -> Prices:
    """The prices under which nothing is bid under this load, rounded up."""
    return _scaled(policy.base, policy.floor + (WHOLE - policy.floor) * utilisation(load) // WHOLE)


def floor_rate(policy: PricingPolicy, load: Load, need: Resources, cost: Rate | None = None) -> Rate:
    """The lowest rate the provider takes for `need` under this load; never below `min_rate` or its own `cost`."""
    return Rate(max(price_of(need, floor_prices(policy, load)), policy.min_rate, cost or 0))


def bid_for(policy: PricingPolicy, load: Load, order: Order, cost: Rate | None, now: Timestamp) -> BidTerms | Refusal:
    """The provider's answer to an order; `cost` is what serving it costs the provider itself, where it knows.

    The bid lies between the floor and the lower of ask and cap: half-way when idle, at the top when full.
    """
    floor = floor_rate(policy, load, order.resources, cost)
    lacking = misfits(order.resources, load.free)
    reasons = _refusals(policy, load, order, now)
    if lacking:
        reasons.append("NO_CAPACITY")
    if order.max_rate < floor:
        reasons.append("PRICE_BELOW_FLOOR")
    if reasons:
        return Refusal(reasons=tuple(reasons), lacking=lacking, floor=floor)
    ask = price_of(order.resources, asking_prices(policy, load))
    top = max(floor, min(ask, order.max_rate))
    rate = floor + (top - floor) * (WHOLE + utilisation(load)) // (2 * WHOLE)
    return BidTerms(rate=Rate(rate), start_within=policy.start_within * (1 + load.queue), notice=policy.notice)


def _refusals(policy: PricingPolicy, load: Load, order: Order, now: int) -> list[str]:
    """The codes of the rules that the order breaks, prices and capacity aside."""
    wanted = order.constraints
    checks = {
        "EXPIRED": not is_live(order, now),
        "BLOCKED": order.requester in policy.blocked,
        "REGION": wanted.region not in ("", *policy.regions),
        "ISOLATION": wanted.isolation not in ("", *policy.isolations),
        "CAPABILITY": not has_all(wanted.needs, policy.capabilities),
        "DURATION_TOO_SHORT": order.duration < policy.min_duration,
        "DURATION_TOO_LONG": order.duration > policy.max_duration,
        "TOO_MANY_LEASES": load.running + load.queue >= policy.max_leases,
    }
    return [code for code, is_broken in checks.items() if is_broken]


def _scaled(base: Prices, thousandths: int) -> Prices:
    def scale(price: int) -> int:
        return min(MAX_PRICE, -(-price * thousandths // WHOLE))

    return Prices(cpu=scale(base.cpu), memory=scale(base.memory), disk=scale(base.disk), gpu=scale(base.gpu))
