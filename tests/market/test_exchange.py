"""Both machines of a lease against each other, over a wire that loses, repeats, delays and reorders."""

from hypothesis import given, settings
from hypothesis import strategies as st

from market.jobs import DONE, JobState
from market.leases import STATE_EVERY, UNPAID_GRACE, LeaseState, cost_of
from tests.builders import NOW
from tests.market.exchange import Exchange, Tenant, Weather

HOUR = 3_600_000
CREDIT = (UNPAID_GRACE + 2 * STATE_EVERY) // 1000
"""Seconds of work that can be acknowledged and yet never reach the provider: the grace, and statements on their way."""


def played(**weather: object) -> Exchange:
    exchange = Exchange(Weather(**weather))  # type: ignore[arg-type]
    exchange.run(3 * HOUR)
    return exchange


def difference(tenant: Tenant) -> int:
    """What the requester counts as paid beyond what the provider holds vouchers for."""
    return tenant.lease.paid - tenant.provider.lease.paid


def test_in_calm_weather_one_attempt_runs_and_both_sides_hold_the_same_bill() -> None:
    exchange = played(work=19_500)
    (tenant,) = exchange.tenants
    assert (exchange.job.state, exchange.job.seconds, exchange.job.cost) == (JobState.SUCCEEDED, 20, 200)
    assert tenant.lease.paid == tenant.provider.lease.paid == 200
    assert tenant.lease.outcome == tenant.provider.lease.outcome == "finished"


def test_a_receipt_is_told_even_when_the_last_statement_paid_all_of_it() -> None:
    exchange = played(work=20_000)
    assert (exchange.job.state, len(exchange.tenants)) == (JobState.SUCCEEDED, 1)


def test_half_of_all_messages_may_be_lost_and_the_job_is_still_done_and_paid() -> None:
    exchange = played(lost=50, work=5000, seed=3)
    assert exchange.job.state is JobState.SUCCEEDED
    assert difference(exchange.tenants[-1]) == 0


def test_every_message_may_come_twice() -> None:
    exchange = played(repeated=100, delay=900, work=19_500)
    assert (exchange.job.state, exchange.job.cost, len(exchange.tenants)) == (JobState.SUCCEEDED, 200, 1)


def test_a_provider_that_dies_is_replaced_within_the_term_and_paid_what_was_acknowledged() -> None:
    exchange = played(deaths=(15_000,), work=19_500)
    first, second = exchange.tenants
    assert (first.lease.code, first.lease.paid, first.provider.lease.paid) == ("PROVIDER_LOST", 100, 100)
    assert second.lease.created_at - NOW <= 15_000 + 20_000 + 30_000 + 2_500
    assert (exchange.job.state, exchange.job.cost) == (JobState.SUCCEEDED, 100 + 200)


def test_a_provider_that_is_cut_off_stops_before_the_job_is_placed_again() -> None:
    exchange = played(cuts=((6_000, 45_000),), work=50_000)
    first, second = exchange.tenants
    assert first.provider.lease.outcome == "lost"
    assert first.provider.stopped_at <= second.lease.created_at
    assert exchange.job.state is JobState.SUCCEEDED


def test_a_cancelled_job_stops_and_owes_what_was_used() -> None:
    exchange = played(cancel_at=12_000, work=50_000)
    (tenant,) = exchange.tenants
    assert exchange.job.state is JobState.CANCELLED
    assert exchange.job.cost == tenant.lease.paid == tenant.provider.lease.paid
    assert 80 <= exchange.job.cost <= 120


def test_a_cancelled_job_whose_provider_died_owes_what_was_acknowledged() -> None:
    exchange = played(cancel_at=15_000, deaths=(14_000,), work=50_000)
    assert exchange.job.cost == exchange.tenants[0].lease.paid == 100


class Miser(Tenant):
    """A requester that answers every statement and pays nothing."""

    def covers(self, state: LeaseState, started_at: int, seconds: int) -> None:
        super().covers(state, started_at, 0)


def test_a_provider_that_is_never_paid_stops_by_itself() -> None:
    exchange = Exchange(Weather(work=HOUR, timeout=3600), Miser)
    exchange.run(HOUR)
    assert {provider.lease.code for provider in exchange.providers} == {"UNPAID"}
    assert all(provider.lease.seconds <= CREDIT for provider in exchange.providers)


weathers = st.builds(
    Weather,
    seed=st.integers(0, 10**9),
    lost=st.sampled_from([0, 5, 20, 40]),
    repeated=st.sampled_from([0, 20, 100]),
    delay=st.sampled_from([0, 1000, 6000]),
    skew=st.integers(-1500, 1500),
    work=st.integers(500, 90_000),
    timeout=st.sampled_from([10, 60]),
    deaths=st.lists(st.integers(1, 120_000), max_size=2).map(tuple),
    cuts=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 60_000)), max_size=2).map(
        lambda pairs: tuple((start, start + length) for start, length in pairs)
    ),
    cancel_at=st.sampled_from([0, 0, 0, 500, 3000, 20_000, 45_000]),
    cap=st.sampled_from([100, 600, 10_000]),
)


@settings(max_examples=100)
@given(weathers)
def test_in_any_weather_one_attempt_runs_at_a_time_and_the_bills_agree(weather: Weather) -> None:
    exchange = Exchange(weather)
    exchange.run(2 * HOUR)
    assert exchange.job.state in DONE
    assert exchange.is_settled()
    assert exchange.job.cost <= exchange.job.cap
    assert exchange.job.cost == sum(tenant.lease.paid for tenant in exchange.tenants)
    for tenant in exchange.tenants:
        theirs, ours = tenant.provider.lease, tenant.lease
        assert 0 <= difference(tenant) <= cost_of(ours.terms, CREDIT)
        if ours.receipt is not None and tenant.provider.is_alive:
            assert difference(tenant) == 0
            assert theirs.receipt == ours.receipt


cut_off = st.builds(
    lambda start, length, **weather: Weather(cuts=((start, start + length),), work=60_000, **weather),
    start=st.integers(0, 30_000),
    length=st.integers(30_000, 60_000),
    seed=st.integers(0, 10**9),
    lost=st.sampled_from([0, 10]),
    delay=st.sampled_from([0, 1000, 6000]),
    skew=st.integers(-1500, 1500),
)


@settings(max_examples=120)
@given(cut_off)
def test_no_attempt_runs_beside_one_that_was_cut_off(weather: Weather) -> None:
    exchange = Exchange(weather)
    exchange.run(HOUR)
    assert exchange.job.state in DONE
