"""Explanations: every offer that does not match says why, and what is proposed as a remedy is one."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.book import OrderBook
from market.explanations import MAX_REASONS, Explanation, RateRange, Relaxation, explain
from market.offers import Offer
from market.orders import Order
from market.resources import GIB
from tests.builders import NOW, a_gpu_offer, an_address, an_offer, an_order, constraints, prices, resources
from tests.market.worlds import SCORES, a_random_offer, a_random_order, randoms

RATE = 11 * 10**9


def explained(order: Order, *offers: Offer, wanted: int = 1) -> Explanation:
    return explain(order, offers, NOW, {}, wanted)


def relaxed(order: Order, step: Relaxation) -> Order:
    """The order with that one constraint changed."""
    name, value = step.constraint, step.needed
    if name == "price":
        return replace(order, max_rate=value)
    if name in ("region", "isolation", "reputation", "avoided"):
        field = {"reputation": "min_reputation", "avoided": "avoid"}.get(name, name)
        return replace(order, constraints=replace(order.constraints, **{field: () if name == "avoided" else value}))
    return replace(order, resources=replace(order.resources, **{name: value}))


def test_an_empty_market_explains_itself() -> None:
    found = explained(an_order())
    assert (found.live, found.matching, found.offers, found.rates, found.relaxations) == (0, 0, (), None, ())


def test_every_failed_constraint_is_counted_and_named() -> None:
    small = an_offer(id="off_small1", free=resources(cpu=100))
    far = an_offer(id="off_faraway", region="mars", isolation="kata")
    order = an_order(constraints=constraints(region="local", isolation="hardened"), max_rate=RATE - 1)
    found = explained(order, small, far)
    assert found.failing == {"cpu": 1, "region": 1, "isolation": 1, "price": 2}
    assert [(each.offer, each.reasons, each.rate) for each in found.offers] == [
        ("off_small1", ("cpu", "price"), RATE),
        ("off_faraway", ("region", "isolation", "price"), RATE),
    ]


def test_expired_offers_are_not_counted() -> None:
    assert explained(an_order(), an_offer(expires_at=NOW)).live == 0


def test_the_nearest_offers_come_first_and_their_number_is_bounded() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=10**9 * (100 - number))) for number in range(60)]
    found = explained(an_order(max_rate=1), *offers)
    assert (found.live, len(found.offers)) == (60, MAX_REASONS)
    assert [each.offer for each in found.offers[:2]] == ["off_000059", "off_000058"]


def test_the_rates_are_of_the_offers_that_fit_but_for_the_price() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=number, memory=0)) for number in (7, 1, 3)]
    huge = an_offer(id="off_toosmall", free=resources(cpu=1), prices=prices(cpu=0, memory=0))
    assert explained(an_order(max_rate=2), *offers, huge).rates == RateRange(min=1, p50=3, max=7)


def test_under_the_cap_of_every_offer_the_remedy_is_the_lowest_rate() -> None:
    found = explained(an_order(max_rate=RATE // 2), an_offer())
    assert found.relaxations == (Relaxation(constraint="price", asked=RATE // 2, needed=RATE, matches=1, change=1000),)


def test_for_more_matches_more_must_be_given_up() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=number, memory=0)) for number in (10, 20, 30)]
    steps = [explained(an_order(max_rate=10), *offers, wanted=wanted).relaxations for wanted in (1, 2, 3, 4)]
    assert [[(step.needed, step.matches) for step in found] for found in steps] == [[], [(20, 2)], [(30, 3)], []]


def test_the_smallest_step_is_proposed_first() -> None:
    nearly = an_offer(id="off_nearly", free=resources(cpu=900))
    far = an_offer(id="off_faraway", region="mars")
    found = explained(an_order(constraints=constraints(region="local")), nearly, far)
    assert [(step.constraint, step.asked, step.needed, step.change) for step in found.relaxations] == [
        ("cpu", 1000, 900, 100),
        ("region", "local", "", 1000),
    ]


@pytest.mark.parametrize(
    ("changes", "constraint", "needed"),
    [
        ({"resources": resources(gpus=8)}, "gpus", 4),
        ({"resources": resources(gpus=1, gpu_model="nvidia-h100")}, "gpu_model", ""),
        ({"resources": resources(gpus=1, vram=100 * GIB)}, "vram", 80 * GIB),
        ({"resources": resources(disk=1000 * GIB)}, "disk", 500 * GIB),
        ({"resources": resources(memory=512 * GIB)}, "memory", 256 * GIB),
        ({"constraints": constraints(min_reputation=700)}, "reputation", 0),
        ({"constraints": constraints(avoid=(an_address(1),))}, "avoided", ""),
        ({"constraints": constraints(isolation="kata")}, "isolation", ""),
    ],
)
def test_each_constraint_has_its_remedy(changes: dict[str, object], constraint: str, needed: int | str) -> None:
    found = explained(an_order(max_rate=2**60, **changes), a_gpu_offer())
    assert [(step.constraint, step.needed) for step in found.relaxations] == [(constraint, needed)]


@settings(max_examples=80)
@given(randoms, st.integers(1, 4))
def test_every_remedy_works_and_counts_rightly(random: Random, wanted: int) -> None:
    book, order = OrderBook(), a_random_order(random)
    for number in range(40):
        book.put_offer(a_random_offer(random, number))
    found = book.explain(order, NOW, SCORES, wanted)
    assert found.matching == len(book.match(order, NOW, SCORES, 100))
    for step in found.relaxations:
        matches = len(book.match(relaxed(order, step), NOW, SCORES, 100))
        assert matches >= wanted > found.matching
        assert matches >= step.matches >= wanted
