"""Budgets: nobody uses up what all need, under one name or under many."""

import pytest

from market.errors import RateLimited
from node.adapters.images.budgets import IN_ALL, LOOKS, WINDOW, Budgets
from node.adapters.images.limits import ImageLimits
from tests.fakes import FakeClock


def budgets(clock: FakeClock | None = None) -> Budgets:
    return Budgets(clock or FakeClock(), ImageLimits(pull_budget=100))


def test_what_fits_passes_and_one_byte_more_does_not() -> None:
    given = budgets()
    given.pull("0xa", "one", 60)
    given.pull("0xa", "two", 40)
    with pytest.raises(RateLimited) as refused:
        given.pull("0xa", "three", 1)
    assert refused.value.details == {"limit": "pull_budget", "expected": "100 bytes pulled", "got": 101}


def test_an_image_counts_once_however_often_it_is_tried() -> None:
    given = budgets()
    for _ in range(5):
        given.pull("0xa", "one", 100)


def test_after_an_hour_the_budget_is_whole_again() -> None:
    clock = FakeClock()
    given = budgets(clock)
    given.pull("0xa", "one", 100)
    clock.advance(WINDOW - 1)
    with pytest.raises(RateLimited):
        given.pull("0xa", "two", 100)
    clock.advance(1)
    given.pull("0xa", "two", 100)


def test_many_names_have_no_more_than_a_few_have() -> None:
    given = budgets()
    for number in range(IN_ALL):
        given.pull(f"0x{number}", "one", 100)
    with pytest.raises(RateLimited, match="all requesters together"):
        given.pull("0xnew", "one", 1)


def test_looks_are_counted_by_name_and_in_all() -> None:
    given = budgets()
    for number in range(IN_ALL):
        for _ in range(LOOKS):
            given.look(f"0x{number}")
        with pytest.raises(RateLimited, match="budget of"):
            given.look(f"0x{number}")
    with pytest.raises(RateLimited, match="all requesters together"):
        given.look("0xnew")


def test_the_nodes_own_pulls_are_free() -> None:
    given = budgets()
    for _ in range(LOOKS + 1):
        given.look("")
    given.pull("", "one", 10**12)
