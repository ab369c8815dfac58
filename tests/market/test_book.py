"""The order book: whatever came, went and expired, it answers as if it had looked at everything."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.book import OrderBook
from market.offers import Offer
from market.orders import Order
from market.units import GIB
from tests.builders import NOW, a_gpu_offer, an_address, an_offer, an_order, constraints, prices, resources
from tests.market.worlds import CROWD, SCORES, a_random_offer, a_random_order, best_of, randoms

histories = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "put", "remove", "expire"]), st.integers(0, 30)), max_size=80
)


def a_book(*things: Offer | Order) -> OrderBook:
    book = OrderBook()
    for thing in things:
        assert book.put_offer(thing) if isinstance(thing, Offer) else book.put_order(thing)
    return book


def ids(found: list[Offer] | list[Order]) -> list[str]:
    return [thing.id for thing in found]


def matched(book: OrderBook, order: Order, limit: int = 8, **scores: int) -> list[str]:
    return [match.offer.id for match in book.match(order, NOW, scores, limit)]


@settings(max_examples=120)
@given(histories, randoms)
def test_any_history_of_offers_matches_as_the_oracle_does(history: list[tuple[str, int]], random: Random) -> None:
    book, held, seqs = OrderBook(page_size=4), dict[str, Offer](), dict[str, int]()
    for what, number in history:
        id = f"off_{number:06d}"
        if what == "put":
            seqs[id] = seqs.get(id, 0) + 1
            offer = held[id] = a_random_offer(random, number, seqs[id])
            assert book.put_offer(offer)
        elif what == "remove":
            assert book.remove_offer(id) == (held.pop(id, None) is not None)
        else:
            now = NOW + 1000 * (number % 3)
            went = {offer.id for offer in held.values() if offer.expires_at <= now}
            assert set(ids(book.expire(now))) == went
            held = {id: offer for id, offer in held.items() if id not in went}
    assert {offer.id: offer for offer in book.offers()} == held
    for _ in range(5):
        order, limit, now = a_random_order(random), random.choice((1, 3, 100)), NOW + random.randint(0, 4000)
        best = best_of(list(held.values()), order, now, limit)
        assert book.match(order, now, SCORES, limit) == book.match(order, now, CROWD, limit) == best


@settings(max_examples=4)
@given(randoms, st.sampled_from([8, 64, 512]))
def test_a_large_book_matches_as_the_oracle_does_also_when_its_cheapest_offers_have_gone(
    random: Random, page_size: int
) -> None:
    book, offers = OrderBook(page_size), [a_random_offer(random, number) for number in range(1500)]
    for offer in offers:
        book.put_offer(replace(offer, prices=prices(cpu=random.randint(1, 10**10), memory=random.randint(1, 10**9))))
    for _ in range(3):
        held = list(book.offers())
        for _ in range(10):
            order = a_random_order(random)
            best = best_of(held, order, NOW, 5)
            assert book.match(order, NOW, SCORES, 5) == book.match(order, NOW, CROWD, 5) == best
        for offer in sorted(held, key=lambda offer: offer.prices.cpu)[: len(held) // 2]:
            book.remove_offer(offer.id)


@settings(max_examples=60)
@given(randoms)
def test_crossing_orders_are_those_that_the_offer_would_match(random: Random) -> None:
    orders = [a_random_order(random, number) for number in range(40)]
    book, offer = a_book(*orders), a_random_offer(random, 1)
    perfect = {offer.provider: 1000}
    expected = [
        order.id
        for order in sorted(orders, key=lambda order: (-order.max_rate, order.issued_at, order.id))
        if order.expires_at > NOW + 1500 and a_book(replace(offer, expires_at=NOW + 10_000)).match(order, NOW, perfect)
    ]
    assert ids(book.crossing(offer, NOW + 1500)) == expected


def test_the_cheapest_comes_first() -> None:
    book = a_book(
        an_offer(id="off_dearer", prices=prices(cpu=2 * 10**9)), an_offer(id="off_cheaper", prices=prices(cpu=10**9))
    )
    assert matched(book, an_order()) == ["off_cheaper", "off_dearer"]


def test_at_one_price_the_higher_score_and_then_the_earlier_offer_comes_first() -> None:
    trusted = an_address(5)
    book = a_book(
        an_offer(id="off_000002", issued_at=NOW - 1),
        an_offer(id="off_000001"),
        an_offer(id="off_000003", provider=trusted),
    )
    assert matched(book, an_order(), **{trusted: 1}) == ["off_000003", "off_000002", "off_000001"]


@pytest.mark.parametrize("scores", [{}, SCORES, CROWD], ids=["nobody", "few", "a crowd"])
def test_among_many_at_one_price_the_best_known_and_the_earliest_are_found(scores: dict[str, int]) -> None:
    book = OrderBook(page_size=16)
    offers = [
        an_offer(id=f"off_{number:06d}", provider=f"0x{number % 500:040x}", issued_at=NOW - number * 7 % 1000)
        for number in range(1000)
    ]
    for offer in offers:
        book.put_offer(offer)
    best = sorted(offers, key=lambda offer: (-scores.get(offer.provider, 0), offer.issued_at, offer.id))[:30]
    assert [match.offer for match in book.match(an_order(), NOW, scores, 30)] == best


def test_no_more_than_the_limit_is_given() -> None:
    book = a_book(*(an_offer(id=f"off_{number:06d}") for number in range(9)))
    assert [len(matched(book, an_order(), limit)) for limit in (0, 1, 9, 10)] == [0, 1, 9, 9]


@pytest.mark.parametrize(
    "order",
    [
        an_order(resources=resources(cpu=32_001, gpus=1)),
        an_order(resources=resources(memory=256 * GIB + 1, gpus=1)),
        an_order(resources=resources(disk=501 * GIB)),
        an_order(resources=resources(gpus=5)),
        an_order(resources=resources(gpus=1, gpu_model="nvidia-t4")),
        an_order(resources=resources(gpus=1, vram=81 * GIB)),
        an_order(constraints=constraints(region="mars")),
        an_order(constraints=constraints(isolation="kata")),
        an_order(constraints=constraints(min_reputation=1)),
        an_order(constraints=constraints(avoid=(an_address(1),))),
        an_order(max_rate=11 * 10**9 - 1),
    ],
    ids=["cpu", "memory", "disk", "gpus", "gpu_model", "vram", "region", "isolation", "reputation", "avoid", "price"],
)
def test_each_constraint_alone_keeps_an_offer_out(order: Order) -> None:
    generous = replace(order, max_rate=2**60) if order.resources.gpus or order.resources.disk else order
    assert matched(a_book(a_gpu_offer()), generous) == []


def test_the_cap_itself_is_within_the_cap() -> None:
    assert matched(a_book(an_offer()), an_order(max_rate=11 * 10**9)) == ["off_000001"]


def test_a_machine_whose_gpus_are_taken_still_serves_orders_without() -> None:
    book = a_book(a_gpu_offer(free=resources()))
    assert matched(book, an_order()) == ["off_000001"]
    assert matched(book, an_order(resources=resources(gpus=1), max_rate=2**60)) == []


def test_what_has_expired_is_never_matched_though_it_is_still_there() -> None:
    book = a_book(an_offer(expires_at=NOW), an_order(expires_at=NOW))
    assert matched(book, an_order(id="ord_000002")) == []
    assert book.crossing(an_offer(), NOW) == []
    assert len(book) == 2
    assert sorted(ids(book.expire(NOW))) == ["off_000001", "ord_000001"]
    assert len(book) == 0


def test_a_later_version_replaces_an_earlier_and_never_the_other_way() -> None:
    book = a_book(an_offer(seq=2))
    assert not book.put_offer(an_offer(seq=1))
    assert not book.put_offer(an_offer(seq=2))
    assert book.put_offer(an_offer(seq=3, region="eu"))
    assert matched(book, an_order(constraints=constraints(region="eu"))) == ["off_000001"]
    assert matched(book, an_order(constraints=constraints(region="local"))) == []


def test_an_order_that_walks_its_price_replaces_itself() -> None:
    book = a_book(an_order(max_rate=1))
    assert book.crossing(an_offer(), NOW) == []
    assert book.put_order(an_order(max_rate=2**60, issued_at=NOW + 1))
    assert ids(book.crossing(an_offer(), NOW)) == ["ord_000001"]


def test_nobody_replaces_what_belongs_to_another() -> None:
    book = a_book(an_offer(), an_order())
    assert not book.put_offer(an_offer(seq=99, provider=an_address(9)))
    assert not book.put_order(an_order(issued_at=NOW + 99, requester=an_address(9)))


def test_an_offer_and_an_order_of_one_name_do_not_disturb_each_other() -> None:
    book = a_book(an_offer(id="both_000001"), an_order(id="both_000001"))
    assert book.remove_order("both_000001")
    assert book.offer("both_000001") == an_offer(id="both_000001")
    assert book.order("both_000001") is None


def test_what_was_withdrawn_comes_back_only_as_a_later_version() -> None:
    book = a_book(an_offer(seq=5))
    assert book.remove_offer("off_000001")
    assert not book.remove_offer("off_000001")
    assert not book.put_offer(an_offer(seq=5))
    assert book.put_offer(an_offer(seq=6))


def test_a_withdrawal_is_forgotten_when_no_copy_can_be_live_any_more() -> None:
    book = a_book(an_offer(seq=5, expires_at=NOW + 1000))
    book.remove_offer("off_000001")
    book.expire(NOW + 1000)
    assert book.put_offer(an_offer(seq=1))


def test_a_provider_is_found_by_its_address() -> None:
    book = a_book(an_offer(), an_offer(id="off_000002"), an_offer(id="off_000003", provider=an_address(9)))
    assert ids(book.offers_of(an_address(1))) == ["off_000001", "off_000002"]
    book.remove_offer("off_000003")
    assert book.offers_of(an_address(9)) == []
