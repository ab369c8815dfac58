"""Comparing books: what one lacks is found from marks of a few buckets, and old copies bring nothing back."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import holdings
from market.book import OrderBook
from market.holdings import BUCKETS, Holdings, bucket_of, differing, mark_of
from market.offers import Offer
from tests.builders import NOW, an_offer, an_order

numbers = st.sets(st.integers(0, 200), max_size=40)


def offers_held() -> Holdings[Offer]:
    return Holdings(lambda offer: offer.provider, lambda offer: offer.seq)


def a_book_of(numbers: set[int], seq: int = 1) -> OrderBook:
    book = OrderBook()
    for number in sorted(numbers):
        book.put_offer(an_offer(id=f"off_{number:06d}", seq=seq))
        book.put_order(an_order(id=f"ord_{number:06d}"))
    return book


def missing(mine: OrderBook, theirs: OrderBook) -> set[str]:
    """The exchange of two nodes: digests, then the versions in the buckets that differ."""
    return set(mine.missing(theirs.versions(differing(mine.digest(), theirs.digest()))))


@settings(max_examples=60)
@given(numbers, numbers)
def test_two_books_find_exactly_what_one_of_them_lacks(mine: set[int], theirs: set[int]) -> None:
    lacking = {f"{kind}_{number:06d}" for number in theirs - mine for kind in ("off", "ord")}
    assert missing(a_book_of(mine), a_book_of(theirs)) == lacking


@settings(max_examples=30)
@given(numbers, st.randoms())
def test_the_digest_depends_on_what_is_held_and_not_on_how_it_came(held: set[int], random: Random) -> None:
    book = a_book_of(held | {500, 501})
    book.remove_offer("off_000500")
    book.remove_order("ord_000500")
    other, order = OrderBook(), [*held, 501]
    random.shuffle(order)
    for number in order:
        other.put_offer(an_offer(id=f"off_{number:06d}"))
        other.put_order(an_order(id=f"ord_{number:06d}"))
    assert book.digest() == other.digest()


def test_a_newer_version_is_missing_and_an_older_is_not() -> None:
    old, new = a_book_of({1}), a_book_of({1}, seq=2)
    assert missing(old, new) == {"off_000001"}
    assert missing(new, old) == set()


def test_what_was_withdrawn_here_is_not_asked_for_again() -> None:
    mine, theirs = a_book_of({1}), a_book_of({1})
    mine.remove_offer("off_000001")
    assert missing(mine, theirs) == set()
    assert missing(theirs, mine) == set()


def test_equal_books_differ_in_no_bucket() -> None:
    assert differing(a_book_of({1, 2}).digest(), a_book_of({2, 1}).digest()) == []


def test_buckets_that_do_not_exist_are_passed_over() -> None:
    assert a_book_of(set(range(500))).versions([-1, 2 * BUCKETS, 10**9]) == []


def test_a_digest_of_many_offers_is_a_few_small_numbers() -> None:
    digest = a_book_of(set(range(1000))).digest()
    assert len(digest) == 2 * BUCKETS
    assert all(0 <= mark < 2**53 for mark in digest.values())


def test_marks_and_buckets_are_the_same_on_every_node() -> None:
    assert (bucket_of("off_000001"), mark_of("off_000001", 1)) == (29, 20232742232462)


def test_a_replaced_copy_that_lives_longer_does_not_come_back_when_its_successor_expires() -> None:
    held = offers_held()
    older = an_offer(seq=1, expires_at=NOW + 9000)
    held.put(older)
    held.put(an_offer(seq=2, expires_at=NOW + 1000))
    assert [offer.seq for offer in held.expire(NOW + 1000)] == [2]
    assert not held.put(older)
    held.expire(NOW + 9000)
    assert held.put(older)


@pytest.mark.parametrize("version", [1, 2])
def test_news_is_what_is_newer_than_anything_seen(version: int) -> None:
    held = offers_held()
    held.put(an_offer(seq=1))
    held.remove("off_000001")
    assert held.is_news("off_000001", version) == (version > 1)
    assert held.is_news("off_000002", version)


def test_nothing_is_remembered_for_ever() -> None:
    held = offers_held()
    for number in range(100):
        held.put(an_offer(id=f"off_{number:06d}", seq=1, expires_at=NOW + number))
        held.put(an_offer(id=f"off_{number:06d}", seq=2, expires_at=NOW + number))
        held.remove(f"off_{number:06d}")
    held.expire(NOW + 100)
    assert held.__dict__["_known"] == {}
    assert held.__dict__["_ends"] == []


def test_versions_that_were_replaced_leave_nothing_behind() -> None:
    held = offers_held()
    for seq in range(10_000):
        held.put(an_offer(seq=seq, expires_at=NOW + 10**9 - seq))
    assert len(held._ends) <= 2048
    assert [offer.seq for offer in held.expire(NOW + 10**9 - 9_999)] == [9_999]
    assert held.expire(NOW + 10**9) == []
    assert not held._known


def test_only_so_many_that_went_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "REMEMBERED", 3)
    held = offers_held()
    for number in range(5):
        held.put(an_offer(id=f"off_00000{number}"))
        held.remove(f"off_00000{number}")
    assert [held.is_news(f"off_00000{number}", 1) for number in range(5)] == [True, True, False, False, False]
    assert not held.expire(NOW + 10**9)
    assert (held._known, held._gone) == ({}, {})
