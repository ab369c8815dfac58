"""Reputation: earned slowly, lost quickly, forgotten in weeks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reputation import HALF_LIFE, Ending, Experience, Outcome, is_bad_debtor, record, score
from tests.builders import NOW

histories = st.lists(st.tuples(st.sampled_from(Ending), st.integers(0, 5 * HALF_LIFE)), max_size=30)


def after(*endings: Ending, experience: Experience | None = None, now: int = NOW) -> Experience:
    experience = experience or Experience()
    for ending in endings:
        experience = record(experience, Outcome(ending=ending), now)
    return experience


def lived(history: list[tuple[Ending, int]]) -> tuple[Experience, int]:
    experience, now = Experience(), NOW
    for ending, pause in history:
        now += pause
        experience = record(experience, Outcome(ending=ending), now)
    return experience, now


def test_who_is_unknown_stands_at_zero() -> None:
    assert score(Experience(), NOW) == 0


def test_good_dealings_raise_the_score_towards_a_thousand() -> None:
    scores = [score(after(*[Ending.SUCCESS] * count), NOW) for count in (1, 3, 10, 100)]
    assert scores == [250, 500, 769, 970]


@pytest.mark.parametrize(
    ("mild", "severe"),
    [(Ending.NOBODY, Ending.DECLINED), (Ending.DECLINED, Ending.FAULT), (Ending.FAULT, Ending.LOST),
     (Ending.PAID_LATE, Ending.UNPAID)],
)  # fmt: skip
def test_worse_endings_cost_more(mild: Ending, severe: Ending) -> None:
    known = after(*[Ending.SUCCESS] * 10)
    assert score(after(severe, experience=known), NOW) < score(after(mild, experience=known), NOW)


def test_what_is_nobodys_fault_changes_nothing() -> None:
    known = after(*[Ending.SUCCESS] * 10)
    assert score(after(Ending.NOBODY, experience=known), NOW) == score(known, NOW)


def test_a_requester_is_judged_by_how_it_pays() -> None:
    assert score(after(*[Ending.PAID] * 10), NOW) > score(after(*[Ending.PAID] * 10, Ending.PAID_LATE), NOW)
    assert score(after(Ending.UNPAID), NOW) == 0


def test_experience_loses_half_its_weight_in_fourteen_days() -> None:
    known = after(*[Ending.SUCCESS] * 6)
    assert score(known, NOW + HALF_LIFE) == score(after(*[Ending.SUCCESS] * 3), NOW)


def test_a_bad_dealing_is_forgiven_in_time() -> None:
    known = after(*[Ending.SUCCESS] * 10, Ending.LOST)
    later = after(*[Ending.SUCCESS] * 10, experience=known, now=NOW + 4 * HALF_LIFE)
    assert score(later, NOW + 4 * HALF_LIFE) > score(known, NOW)


@given(histories)
def test_a_score_is_always_between_zero_and_a_thousand_and_fades_to_zero(history: list[tuple[Ending, int]]) -> None:
    experience, now = lived(history)
    assert 0 <= score(experience, now) < 1000
    assert score(experience, now + 40 * HALF_LIFE) == 0


@given(histories)
def test_one_more_good_dealing_never_lowers_the_score_and_a_bad_one_never_raises_it(
    history: list[tuple[Ending, int]],
) -> None:
    experience, now = lived(history)
    good, bad = (
        after(Ending.SUCCESS, experience=experience, now=now),
        after(Ending.LOST, experience=experience, now=now),
    )
    assert score(bad, now) <= score(experience, now) <= score(good, now)


def test_seconds_and_payments_add_up_undecayed() -> None:
    first = record(Experience(), Outcome(ending=Ending.SUCCESS, seconds=10, paid=5), NOW)
    second = record(first, Outcome(ending=Ending.FAULT, seconds=1, paid=2), NOW + HALF_LIFE)
    assert (second.dealings, second.seconds, second.paid) == (2, 11, 7)


def test_a_clock_that_steps_back_decays_nothing() -> None:
    experience = after(Ending.SUCCESS)
    assert record(experience, Outcome(ending=Ending.SUCCESS), NOW - HALF_LIFE).good == 2
    assert score(experience, NOW - HALF_LIFE) == score(experience, NOW)


def test_a_bad_debtor_is_one_that_left_more_unpaid_than_it_paid_for_and_is_forgiven_in_time() -> None:
    assert not is_bad_debtor(after(*[Ending.UNPAID] * 3), NOW)
    assert is_bad_debtor(after(*[Ending.UNPAID] * 4), NOW)
    assert not is_bad_debtor(after(*[Ending.UNPAID] * 4, *[Ending.PAID] * 3), NOW)
    assert not is_bad_debtor(after(*[Ending.UNPAID] * 4), NOW + HALF_LIFE)


@pytest.mark.parametrize("ending", Ending)
def test_every_ending_has_its_weight(ending: Ending) -> None:
    assert after(ending).dealings == 1
