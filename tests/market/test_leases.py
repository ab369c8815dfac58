"""What both sides of a lease share: the arithmetic of time and money."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.leases import (
    LEASE_TERM,
    MARGIN,
    OPEN,
    UNPAID_GRACE,
    LeaseState,
    billed_seconds,
    cost_of,
    is_credit_exhausted,
    latest_end,
    objection_to,
    renewed_until,
    reserved,
)
from market.workloads import Volume, Workload, WorkloadKind, spec_digest
from tests.builders import NOW, a_lease, a_workload, resources, terms

S = LeaseState


def test_a_started_second_counts_in_full() -> None:
    assert [billed_seconds(NOW, NOW + ms) for ms in (1, 1000, 1001, 60_000)] == [1, 1, 2, 60]


def test_what_ran_at_all_is_at_least_a_second() -> None:
    assert billed_seconds(NOW, NOW) == 1
    assert billed_seconds(NOW, NOW - 5000) == 1


def test_what_never_ran_costs_nothing() -> None:
    assert billed_seconds(0, NOW) == 0


@given(st.integers(0, 2**40), st.integers(0, 2**60), st.integers(0, 2**62), st.integers(1, 30 * 86400))
def test_no_use_costs_more_than_the_cap_or_the_time_limit(seconds: int, rate: int, cap: int, timeout: int) -> None:
    agreed = terms(rate=rate, cap=cap, timeout=timeout)
    assert cost_of(agreed, seconds) <= cap
    assert cost_of(agreed, seconds) <= cost_of(agreed, timeout)


@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_more_use_never_costs_less(fewer: int, more: int) -> None:
    assert cost_of(terms(), fewer) <= cost_of(terms(), fewer + more)


def test_an_open_lease_reserves_what_its_cap_still_allows() -> None:
    assert [reserved(a_lease(state=state, paid=100)) for state in OPEN] == [500] * 5


def test_an_ended_lease_reserves_what_is_due_and_a_settled_one_nothing() -> None:
    assert reserved(a_lease(state=S.FINISHED, due=150, paid=100)) == 50
    assert reserved(a_lease(state=S.SETTLED, due=150, paid=100)) == 0


def test_an_overpaid_lease_reserves_nothing() -> None:
    assert reserved(a_lease(state=S.RUNNING, paid=700)) == 0


@given(st.integers(0, 2**53), st.integers(NOW, NOW + 10**9))
def test_a_provider_never_counts_itself_as_renewed_beyond_a_term_of_its_own_clock(asked: int, now: int) -> None:
    assert renewed_until(asked, now) <= min(asked, now + LEASE_TERM) - MARGIN


def test_work_is_given_on_credit_for_the_grace_and_no_longer() -> None:
    lease = a_lease(state=S.RUNNING)
    assert not is_credit_exhausted(lease, NOW + UNPAID_GRACE)
    assert is_credit_exhausted(lease, NOW + UNPAID_GRACE + 1)


def test_a_voucher_that_covers_a_crumb_gives_no_new_grace() -> None:
    assert is_credit_exhausted(a_lease(state=S.RUNNING, paid=9), NOW + UNPAID_GRACE + 1000)
    assert not is_credit_exhausted(a_lease(state=S.RUNNING, paid=10), NOW + UNPAID_GRACE + 1000)


def test_what_is_free_or_paid_up_to_its_cap_is_never_stopped_for_credit() -> None:
    free = a_lease(state=S.RUNNING, terms=terms(rate=0, cap=0))
    assert not is_credit_exhausted(free, NOW + 10**9)
    assert not is_credit_exhausted(a_lease(state=S.RUNNING, paid=600), NOW + 10**9)


def test_only_a_running_lease_uses_credit() -> None:
    assert not is_credit_exhausted(a_lease(state=S.PULLING), NOW + 10**9)


def test_the_requester_waits_for_the_time_limit_and_ten_minutes_of_reporting() -> None:
    assert latest_end(a_lease("requester", state=S.RUNNING)) == NOW + 60_000 + 600_000


def test_before_the_start_the_requester_waits_as_long_as_the_provider_may_take() -> None:
    assert latest_end(a_lease("requester", state=S.PULLING)) == NOW + 180_000 + 1_800_000 + 120_000


def test_the_container_is_named_by_lease_and_attempt() -> None:
    assert a_lease(terms=terms(attempt=3)).container == "lse_000001-a3"


def test_each_side_knows_the_peer_of_the_other() -> None:
    assert a_lease("provider").other == "peer-requester"
    assert a_lease("requester").other == "peer-provider"


def objection(workload: Workload, **changes: object) -> str:
    agreed = terms(spec_digest=spec_digest(workload, "nonce"), resources=workload.resources, **changes)
    found = objection_to(workload, "nonce", agreed)
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("kind", "unit", "code"),
    [
        (WorkloadKind.BATCH, "second", ""),
        (WorkloadKind.SERVICE, "second", ""),
        (WorkloadKind.RUNNER, "run", ""),
        (WorkloadKind.BATCH, "run", "WRONG_UNIT"),
        (WorkloadKind.SERVICE, "run", "WRONG_UNIT"),
        (WorkloadKind.RUNNER, "second", "WRONG_UNIT"),
    ],
)
def test_only_code_is_paid_by_the_run_else_all_other_work_would_be_free(
    kind: WorkloadKind, unit: str, code: str
) -> None:
    assert objection(a_workload(kind=kind), unit=unit) == code


@pytest.mark.parametrize(("disk", "code"), [(2**30, "VOLUMES_TOO_LARGE"), (2**31, "")])
def test_volumes_are_bought_like_every_other_disk(disk: int, code: str) -> None:
    volumes = tuple(Volume(name=f"v{number}", path=f"/v{number}", size=2**30) for number in range(2))
    assert objection(a_workload(volumes=volumes, resources=resources(disk=disk))) == code
