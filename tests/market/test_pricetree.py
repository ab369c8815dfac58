"""The price index: its pages hold every offer once, within bounds, and stay many and small."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.offers import Offer
from market.pages import Page, ask_of, questions
from market.pricetree import PriceTree
from market.resources import GIB, misfits
from tests.builders import NOW, an_offer, prices, resources
from tests.market.worlds import a_random_offer, a_random_order, randoms


def a_tree(*offers: Offer, page_size: int = 4) -> PriceTree:
    tree = PriceTree(with_gpus=True, page_size=page_size)
    for offer in offers:
        tree.add(offer)
    return tree


def names(page: Page) -> set[str]:
    return {ask.offer.id for ask in page.held()}


def check_page(page: Page) -> None:
    """The invariants of a page."""
    held = page.held()
    assert page.live.bit_count() == len(page) == len(held)
    assert all(least <= price for ask in held for least, price in zip(page.low, ask, strict=False))
    assert {ask.offer.id for slot, ask in enumerate(page.asks) if page.live >> slot & 1} == names(page)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120), randoms)
def test_after_any_additions_and_removals_every_offer_is_in_one_page(
    history: list[tuple[bool, int]], random: Random
) -> None:
    tree, held = a_tree(), set[str]()
    for is_added, number in history:
        offer = a_random_offer(random, number)
        tree.discard(offer.id)
        held.discard(offer.id)
        if is_added:
            tree.add(offer)
            held.add(offer.id)
    found = [names(page) for page in tree.pages()]
    assert set().union(*found) == held
    assert sum(map(len, found)) == len(held)
    assert all(found) or len(found) == 1
    for page in tree.pages():
        check_page(page)


@settings(max_examples=80)
@given(randoms)
def test_the_questions_never_rule_out_an_offer_that_fits(random: Random) -> None:
    page, offers = Page(64), [a_random_offer(random, number) for number in range(20)]
    slots = {page.add(ask_of(offer, with_gpus=True)): offer for offer in offers}
    need = a_random_order(random).resources
    mask = page.candidates(questions(need), [])
    assert all(mask >> slot & 1 for slot, offer in slots.items() if not misfits(need, offer.free))


def test_pages_are_divided_when_they_are_full() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=number)) for number in range(40)]
    assert all(len(page) <= 4 for page in a_tree(*offers).pages())


def test_offers_of_one_price_are_divided_by_time() -> None:
    offers = [an_offer(id=f"off_{number:06d}", issued_at=NOW + number) for number in range(40)]
    assert all(len(page) <= 4 for page in a_tree(*offers).pages())


def test_offers_that_nothing_tells_apart_share_a_page() -> None:
    tree = a_tree(*(an_offer(id=f"off_{number:06d}") for number in range(40)))
    assert [len(page) for page in tree.pages()] == [40]


def test_rising_prices_do_not_leave_pages_almost_empty() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=number)) for number in range(400)]
    assert len(a_tree(*offers, page_size=16).pages()) <= 400 // 8


def test_empty_pages_go() -> None:
    offers = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=number)) for number in range(40)]
    tree = a_tree(*offers)
    for offer in offers:
        tree.discard(offer.id)
    assert [len(page) for page in tree.pages()] == [0]


def test_the_lower_bounds_follow_when_cheap_offers_go() -> None:
    cheap = [an_offer(id=f"off_{number:06d}", prices=prices(cpu=1)) for number in range(16)]
    dear = [an_offer(id=f"off_dear{number:02d}", prices=prices(cpu=number)) for number in (5, 7, 6)]
    tree = a_tree(*dear, *cheap, page_size=64)
    for offer in cheap:
        tree.discard(offer.id)
    assert tree.pages()[0].low[0] == 5


def test_amounts_beyond_every_question_are_still_candidates() -> None:
    huge = resources(cpu=4_096_000, memory=2**60, disk=2**60, gpus=1024, vram=2**60)
    page = Page(4)
    page.add(ask_of(an_offer(free=huge), with_gpus=True))
    assert page.candidates(questions(huge), []) == 1


@pytest.mark.parametrize("name", ["cpu", "memory", "disk", "gpus", "vram"])
def test_the_questions_tell_half_octaves_apart(name: str) -> None:
    page, whole = Page(8), 32 * GIB if name not in ("cpu", "gpus") else 64
    for share in (4, 6, 8, 12):
        free = resources(cpu=128, memory=64 * GIB, disk=64 * GIB, gpus=128, vram=64 * GIB)
        free = replace(free, **{name: whole * share // 4})
        page.add(ask_of(an_offer(id=f"off_{share:06d}", free=free), with_gpus=True))
    need = replace(resources(cpu=0, memory=0, gpus=1), **{name: whole * 6 // 4})
    assert page.candidates(questions(need), []) == 0b1110
