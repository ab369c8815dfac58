"""What events cost: in double entry, and never more than was set aside or owed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.jobs import Job, JobState
from market.leases import LeaseState
from market.ledger import (
    CREDITS,
    Charge,
    Line,
    Posting,
    Transfer,
    between,
    charge_of_job,
    charge_of_lease,
    charge_of_pod,
    charge_of_run,
    charge_of_service,
    flaws_of,
    hold_account,
    is_balanced,
    paid_account,
    postings_of,
    user_account,
)
from market.runs import Run, RunState
from market.services import Pod, Service, ServiceState
from market.units import Amount
from tests.builders import NOW, a_lease, a_workload


def a_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": "job_1",
        "account": "user_1",
        "workload": a_workload(),
        "nonce": "00",
        "cap": Amount(100),
        "expires_at": NOW,
        "created_at": NOW,
    }
    return Job(**(fields | changes))


def a_service(**changes: Any) -> Service:
    fields: dict[str, Any] = {
        "id": "dep_1",
        "account": "user_1",
        "name": "web",
        "workload": a_workload(),
        "cap": Amount(10),
        "replicas": 3,
        "created_at": NOW,
    }
    return Service(**(fields | changes))


def amounts(charge: Charge | None) -> tuple[int, int]:
    """How much more is set aside, and how much is owed."""
    return (charge.hold, charge.cost) if charge else (0, 0)


def test_a_job_sets_its_cap_aside_and_gives_back_what_it_did_not_cost() -> None:
    new, done = a_job(), a_job(state=JobState.SUCCEEDED, cost=Amount(30), version=5)
    assert amounts(charge_of_job(None, new)) == (100, 0)
    assert amounts(charge_of_job(new, a_job(state=JobState.PLACED, version=1))) == (0, 0)
    assert amounts(charge_of_job(a_job(state=JobState.RUNNING, version=4), done)) == (-100, 30)


def test_an_attempt_that_is_lost_is_paid_out_of_the_cap() -> None:
    before, after = a_job(state=JobState.RUNNING), a_job(cost=Amount(7), attempt=2, version=3)
    assert amounts(charge_of_job(before, after)) == (-7, 7)


def test_a_cancelled_job_keeps_its_cap_aside_until_its_lease_has_told_what_it_costs() -> None:
    running, owing = a_job(state=JobState.RUNNING), a_job(state=JobState.CANCELLED, is_owing=True, version=3)
    assert amounts(charge_of_job(running, owing)) == (0, 0)
    assert amounts(charge_of_job(owing, a_job(state=JobState.CANCELLED, cost=Amount(90), version=4))) == (-100, 90)


def test_pods_are_not_charged_as_jobs() -> None:
    assert charge_of_job(None, a_job(service="dep_1")) is None


def test_a_service_sets_a_cap_aside_for_each_job_that_its_places_wait_for() -> None:
    up = a_service()
    assert amounts(charge_of_service(None, up, 0)) == (30, 0)
    assert amounts(charge_of_service(up, a_service(replicas=5, version=1), 30)) == (20, 0)
    assert amounts(charge_of_service(up, a_service(is_wanted=False, version=1), 30)) == (-30, 0)
    assert amounts(charge_of_service(up, a_service(state=ServiceState.DELETED, version=1), 30)) == (-30, 0)
    posted = Pod(id="pod_1", generation=1, job="job_1x1", state="pending", is_posted=True)
    assert amounts(charge_of_service(up, a_service(pods=(posted,), version=1), 30)) == (-10, 0)
    waiting = replace(posted, is_posted=False)
    assert amounts(charge_of_service(up, a_service(pods=(waiting,), version=1), 30)) == (0, 0)


def test_a_new_generation_needs_a_cap_more_while_it_replaces_the_old_one() -> None:
    pods = tuple(Pod(id=f"pod_{n}", generation=1, job=f"job_1x{n}", state="running") for n in range(3))
    charge = charge_of_service(a_service(pods=pods), a_service(pods=pods, generation=2, version=1), 0)
    assert (amounts(charge), charge is not None and charge.is_firm) == ((10, 0), True)


@pytest.mark.parametrize(
    ("changes", "is_firm"), [({"replicas": 4}, True), ({"cap": Amount(9)}, False), ({"pods": ()}, False)]
)
def test_only_wishes_for_more_are_refused_for_lack_of_money(changes: dict[str, Any], is_firm: bool) -> None:
    pods = (Pod(id="pod_1", generation=1, job="job_1x1", state="running"),)
    charge = charge_of_service(a_service(pods=pods), a_service(**{"pods": pods, "version": 1, **changes}), 0)
    assert charge is not None
    assert charge.is_firm is is_firm


def test_the_job_of_a_pod_sets_its_cap_aside_out_of_what_its_service_kept() -> None:
    new = a_job(service="dep_1")
    charge = charge_of_pod(None, new, 0, 0)
    assert charge is not None
    assert postings_of(replace(charge, handed=70), 0) == (
        Posting(user_account("user_1"), -30),
        Posting(hold_account("dep_1"), -70),
        Posting(hold_account("job_1"), 100),
    )
    running = replace(new, state=JobState.RUNNING, version=3)
    assert charge_of_pod(running, replace(running, version=4), 60, 40) is None
    owing = replace(running, state=JobState.CANCELLED, is_owing=True, version=4)
    assert charge_of_pod(running, owing, 60, 40) is None
    assert amounts(charge_of_pod(owing, replace(owing, is_owing=False, version=5), 60, 40)) == (-60, 0)


def test_a_pod_costs_what_its_lease_is_paid_and_the_rest_once_it_is_told() -> None:
    job, before = a_job(service="dep_1"), a_lease("requester", state=LeaseState.RUNNING, paid=Amount(30), seconds=3)
    paid = replace(before, paid=Amount(50), seconds=5)
    charge = charge_of_lease(before, paid, job)
    assert (amounts(charge), charge is not None and charge.seconds) == ((-20, 20), 2)
    fetching = replace(paid, state=LeaseState.FINISHED, due=Amount(60), deadline=0)
    assert charge_of_lease(paid, fetching, job) is None
    told = replace(fetching, deadline=NOW)
    assert amounts(charge_of_lease(fetching, told, job)) == (-10, 10)
    assert charge_of_lease(told, replace(told, paid=Amount(60)), job) is None
    assert charge_of_lease(before, paid, a_job()) is None


def an_end(error: str = "") -> RunEnd:
    return RunEnd(stdout="", stderr="", exit_code=0 if not error else 1, milliseconds=1, error=error, message="")


@pytest.mark.parametrize(
    ("state", "errors", "cost"),
    [
        (RunState.SUCCEEDED, ("", ""), 2),
        (RunState.FAILED, ("", "TLE"), 0),
        (RunState.FAILED, ("CompilationError",), 0),
        (RunState.CANCELLED, (), 0),
    ],
)
def test_only_runs_that_succeed_cost_a_credit(state: RunState, errors: tuple[str, ...], cost: int) -> None:
    queued = Run(
        id="r", account="user_1", language="python", code="", inputs=("", ""), price=1, currency=CREDITS, created_at=NOW
    )
    done = replace(queued, state=state, results=tuple(map(an_end, errors)), version=1)
    first, last = charge_of_run(None, queued), charge_of_run(queued, done)
    assert first is not None
    assert last is not None
    assert (first.currency, amounts(first), amounts(last)) == (CREDITS, (2, 0), (-2, cost))


@given(hold=st.integers(-1000, 1000), cost=st.integers(0, 1000), held=st.integers(0, 1000))
def test_every_charge_balances_and_gives_back_no_more_than_is_there(hold: int, cost: int, held: int) -> None:
    charge = Charge(id="c", kind="job", subject="job_1", account="user_1", hold=hold, cost=cost)
    postings = postings_of(charge, held)
    assert is_balanced(Transfer(id="c", kind="job", subject="job_1", postings=postings))
    moved = {posting.account: posting.amount for posting in postings}
    assert held + moved.get(hold_account("job_1"), 0) >= 0
    assert moved.get(paid_account("user_1"), 0) == cost
    assert moved.get(user_account("user_1"), 0) == -max(hold, -held) - cost


@pytest.mark.parametrize(
    "postings",
    [
        (Posting("a", 1),),
        (Posting("a", 1), Posting("b", -2)),
        (Posting("a", 1), Posting("a", -1)),
    ],
)
def test_what_does_not_sum_to_zero_between_different_accounts_is_no_transfer(postings: tuple[Posting, ...]) -> None:
    assert not is_balanced(Transfer(id="t", kind="x", subject="s", postings=postings))
    assert is_balanced(Transfer(id="t", kind="x", subject="s", postings=between("a", "b", 3)))


LINES = st.lists(
    st.tuples(
        st.sampled_from(["user:a", "hold:j", "chain"]), st.sampled_from(["money", "credits"]), st.integers(1, 99)
    ),
    max_size=12,
)


def a_book(moves: list[tuple[str, str, int]]) -> tuple[list[Line], list[Line]]:
    """The lines of what came out of nowhere, and the balances that they make."""
    lines = [line for account, currency, n in moves for line in ((account, currency, n), ("grants", currency, -n))]
    sums: dict[tuple[str, str], int] = {}
    for account, currency, amount in lines:
        sums[account, currency] = sums.get((account, currency), 0) + amount
    return lines, [(account, currency, amount) for (account, currency), amount in sums.items() if amount]


@given(LINES)
def test_books_that_were_kept_balance(moves: list[tuple[str, str, int]]) -> None:
    assert flaws_of(*a_book(moves)) == []


@given(LINES, st.data())
def test_whatever_is_lost_or_changed_in_the_books_is_found(moves: Any, data: st.DataObject) -> None:
    lines, balances = a_book([*moves, ("user:a", "money", 5)])
    side = data.draw(st.sampled_from([lines, balances]))
    place = data.draw(st.integers(0, len(side) - 1))
    account, currency, amount = side.pop(place)
    if data.draw(st.booleans()):
        side.append((account, currency, amount + data.draw(st.integers(1, 9))))
    assert flaws_of(lines, balances)


def test_the_flaws_of_books_are_sentences() -> None:
    lines = [("hold:j", "money", -2), ("user:a", "money", 2)]
    assert flaws_of(lines, [("hold:j", "money", -2), ("user:a", "money", 3)]) == [
        "all money sums to 1 and not to zero",
        "hold:j is -2 money: nothing that is set aside can be below zero",
        "user:a has 3 money, and its lines sum to 2",
    ]
