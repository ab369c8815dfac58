"""Bids: the best value first."""

from itertools import permutations

import pytest

from market.bids import best_first, is_eligible
from market.orders import Constraints
from tests.builders import a_bid, an_address


def test_bids_above_the_cap_are_left_out() -> None:
    assert best_first([a_bid(rate=11), a_bid(rate=10)], 10, {}) == [a_bid(rate=10)]


def test_lower_rate_then_higher_score_then_earlier_start_wins_in_any_order_of_arrival() -> None:
    known, unknown = an_address(1), an_address(2)
    ranked = [
        a_bid(rate=1, provider=unknown, start_within=99),
        a_bid(rate=2, provider=known, start_within=99),
        a_bid(rate=2, provider=unknown, start_within=1),
        a_bid(rate=2, provider=unknown, start_within=2),
    ]
    assert all(best_first(bids, 9, {known: 1}) == ranked for bids in permutations(ranked))


def test_no_bid_is_no_winner() -> None:
    assert best_first([], 10, {}) == []


@pytest.mark.parametrize(
    ("wanted", "may_win"),
    [
        (Constraints(), True),
        (Constraints(only=(an_address(1),)), True),
        (Constraints(only=(an_address(2),)), False),
        (Constraints(avoid=(an_address(1),)), False),
        (Constraints(min_reputation=6), False),
    ],
    ids=["anybody", "this one alone", "another alone", "not this one", "more reputation"],
)
def test_a_bid_wins_only_for_whom_the_order_lets_in(wanted: Constraints, may_win: bool) -> None:
    assert is_eligible(a_bid(provider=an_address(1)), wanted, {an_address(1): 5}) == may_win
