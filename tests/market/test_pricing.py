"""Pricing: a busy machine asks more and gives less way, and every refusal says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.orders import Order
from market.pricing import BidTerms, Load, PricingPolicy, Refusal, asking_prices, bid_for, floor_rate, utilisation
from market.resources import GIB, price_of
from market.units import Rate
from tests.builders import NOW, REQUESTER, an_order, constraints, prices, resources

MACHINE = resources(cpu=8000, memory=32 * GIB, disk=100 * GIB)
IDLE = Load(total=MACHINE, free=MACHINE)
HALF = Load(total=MACHINE, free=resources(cpu=4000, memory=32 * GIB, disk=100 * GIB), running=4)
FULL = Load(total=MACHINE, free=resources(cpu=0, memory=0), running=8)
POLICY = PricingPolicy(base=prices(), floor=700, surge=2000)
ASK = price_of(resources(), prices())

loads = st.builds(
    lambda cpu, memory, queue: replace(IDLE, free=replace(MACHINE, cpu=cpu, memory=memory), queue=queue),
    st.integers(0, 8000),
    st.integers(0, 32 * GIB),
    st.integers(0, 10),
)
policies = st.builds(
    lambda floor, surge, least: replace(POLICY, floor=floor, surge=surge, min_rate=least),
    st.integers(0, 1000),
    st.integers(1000, 10_000),
    st.integers(0, 2 * ASK),
)


def answer(
    order: Order, load: Load = IDLE, policy: PricingPolicy = POLICY, cost: int | None = None
) -> BidTerms | Refusal:
    return bid_for(policy, load, order, None if cost is None else Rate(cost), NOW)


def reasons(order: Order, **how: object) -> tuple[str, ...]:
    found = answer(order, **how)  # type: ignore[arg-type]
    return found.reasons if isinstance(found, Refusal) else ()


def test_the_scarcest_resource_is_the_load() -> None:
    assert [utilisation(load) for load in (IDLE, HALF, FULL)] == [0, 500, 1000]


def test_a_machine_with_nothing_to_sell_counts_as_full() -> None:
    assert utilisation(Load(total=resources(cpu=0, memory=0), free=resources(cpu=0, memory=0))) == 1000


def test_the_ask_rises_from_the_base_to_the_surge_with_the_load() -> None:
    assert [asking_prices(POLICY, load).cpu * 10 // POLICY.base.cpu for load in (IDLE, HALF, FULL)] == [10, 15, 20]


def test_the_floor_rises_from_its_share_to_the_whole_base_with_the_load() -> None:
    floors = [floor_rate(POLICY, load, resources()) * 1000 // ASK for load in (IDLE, HALF, FULL)]
    assert floors == [700, 850, 1000]


def test_an_order_under_the_ask_but_above_the_floor_gets_a_bid_between_them() -> None:
    cap = ASK * 9 // 10
    bid = answer(an_order(max_rate=cap))
    assert isinstance(bid, BidTerms)
    assert bid.rate == (ASK * 7 // 10 + cap) // 2


def test_a_busy_machine_bids_higher() -> None:
    low, high = answer(an_order(), IDLE), answer(an_order(), HALF)
    assert isinstance(low, BidTerms)
    assert isinstance(high, BidTerms)
    assert low.rate < high.rate


def test_each_queued_lease_delays_the_promised_start() -> None:
    bid = answer(an_order(), replace(IDLE, queue=2))
    assert isinstance(bid, BidTerms)
    assert bid.start_within == 3 * POLICY.start_within


def test_an_order_below_the_floor_is_told_the_floor() -> None:
    assert answer(an_order(max_rate=1)) == Refusal(reasons=("PRICE_BELOW_FLOOR",), floor=Rate(ASK * 7 // 10))


def test_what_serving_costs_is_never_underbid() -> None:
    assert reasons(an_order(max_rate=ASK), cost=ASK + 1) == ("PRICE_BELOW_FLOOR",)
    assert answer(an_order(max_rate=ASK), cost=ASK) == BidTerms(rate=Rate(ASK), start_within=30, notice=0)


def test_nothing_is_served_for_less_than_the_least_rate() -> None:
    policy = replace(POLICY, min_rate=Rate(2 * ASK))
    assert answer(an_order(max_rate=3 * ASK), policy=policy) == BidTerms(rate=Rate(2 * ASK), start_within=30, notice=0)


def test_a_lack_of_capacity_names_what_lacks() -> None:
    found = answer(an_order(resources=resources(cpu=9000, memory=64 * GIB), max_rate=2**60))
    assert isinstance(found, Refusal)
    assert (found.reasons, found.lacking) == (("NO_CAPACITY",), ("cpu", "memory"))


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({"duration": 8 * 86_400}, {}, "DURATION_TOO_LONG"),
        ({"duration": 59}, {"min_duration": 60}, "DURATION_TOO_SHORT"),
        ({"constraints": constraints(region="mars")}, {}, "REGION"),
        ({"constraints": constraints(isolation="kata")}, {}, "ISOLATION"),
        ({}, {"blocked": (REQUESTER,)}, "BLOCKED"),
        ({}, {"max_leases": 0}, "TOO_MANY_LEASES"),
        ({"expires_at": NOW}, {}, "EXPIRED"),
    ],
)
def test_every_broken_rule_has_its_reason(changes: dict[str, object], policy: dict[str, object], reason: str) -> None:
    assert reasons(an_order(**changes), policy=replace(POLICY, **policy)) == (reason,)


def test_all_reasons_are_given_at_once() -> None:
    order = an_order(duration=8 * 86_400, constraints=constraints(region="mars"), max_rate=1)
    assert reasons(order, load=FULL) == ("REGION", "DURATION_TOO_LONG", "NO_CAPACITY", "PRICE_BELOW_FLOOR")


@given(policies, loads, st.integers(0, 4 * ASK), st.none() | st.integers(0, 2 * ASK))
def test_a_bid_is_never_below_floor_or_cost_nor_above_cap(
    policy: PricingPolicy, load: Load, cap: int, cost: int | None
) -> None:
    found = answer(an_order(max_rate=cap), load, policy, cost)
    floor = floor_rate(policy, load, resources())
    if isinstance(found, BidTerms):
        assert max(floor, cost or 0) <= found.rate <= cap
    else:
        assert "PRICE_BELOW_FLOOR" not in found.reasons or found.floor > cap


@given(policies, loads)
def test_the_ask_is_never_below_the_base_and_the_floor_never_above_the_ask(policy: PricingPolicy, load: Load) -> None:
    ask = price_of(resources(), asking_prices(policy, load))
    assert ask >= ASK
    assert floor_rate(replace(policy, min_rate=Rate(0)), load, resources()) <= ask


def test_the_same_question_gets_the_same_answer() -> None:
    assert answer(an_order(), HALF) == answer(an_order(), HALF)
