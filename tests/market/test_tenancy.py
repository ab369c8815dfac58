"""The requester's side of a lease: what each rule means, what is refused, and what holds over every history."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market import tenancy_events
from market.billing import bill_limit
from market.errors import InvalidTransition
from market.job_events import LeaseLost, TenantCancelled, WorkloadBegan, WorkloadDone
from market.leases import ENDED, LEASE_TERM, MARGIN, OPEN, SETTLE_WITHIN, Lease, LeaseState, cost_of
from market.machines import DeadlinePassed, Event, Tell
from market.receipts import Receipt
from market.tenancy import RULES, step, take_lease
from market.tenancy_events import (
    CommitAcknowledged,
    CommitRefused,
    FetchOutputs,
    FundChannel,
    OutputsLost,
    OutputsStored,
    PaymentConfirmed,
    PhaseReported,
    ProviderHeard,
    ReceiptReceived,
    RenewalSent,
    SendCancel,
    SendCommit,
    SendPayment,
    UsageAcknowledged,
)
from market.units import Amount
from tests.builders import NOW, a_file, a_lease, a_receipt, a_workload, terms
from tests.market.machine_walks import an_event, effects_named, events_of, name_of, refused

S = LeaseState
ID, JOB = "lse_000001", "job_000001"
LEASED = tuple(state for state in OPEN if state is not S.OFFERED)
MUCH_LATER = NOW + 10**8
FAULTS = (
    "INFRASTRUCTURE",
    "IMAGE_NOT_FOUND",
    "IMAGE_REFUSED",
    "INPUT_MISSING",
    "NOT_FUNDED",
    "PULL_LIMIT",
    "PULL_TIMEOUT",
    "START_TIMEOUT",
    "LEASE_EXPIRED",
    "CANCELLED",
)
EVENTS = [*events_of(tenancy_events), TenantCancelled]


def lease(state: LeaseState, **changes: object) -> Lease:
    return a_lease("requester", **{"state": state, **changes})


def received(**changes: object) -> ReceiptReceived:
    return ReceiptReceived(receipt=a_receipt(**changes), signature=b"signature")


def told(effects: list[Any]) -> Event:
    """What the job is told: exactly one thing."""
    (tell,) = (effect for effect in effects if isinstance(effect, Tell))
    assert (tell.noun, tell.subject) == ("Job", JOB)
    return tell.event


@pytest.mark.parametrize(("state", "event"), refused(RULES, LeaseState, EVENTS), ids=name_of)
def test_a_pair_that_is_not_in_the_table_is_refused(state: LeaseState, event: type[Event]) -> None:
    with pytest.raises(InvalidTransition):
        step(lease(state), an_event(event), MUCH_LATER)


@pytest.mark.parametrize(("state", "event"), RULES, ids=name_of)
def test_a_pair_in_the_table_leads_to_a_state_of_the_same_lease(state: LeaseState, event: type[Event]) -> None:
    after, effects = step(lease(state), an_event(event), MUCH_LATER)
    assert after.id == ID
    assert {effect.subject for effect in effects} <= {ID, JOB}


# --- from the commit to the start ---


def test_a_taken_lease_sends_its_commit_and_gives_it_up_after_a_term() -> None:
    taken, effect = take_lease(terms(), JOB, "channel", a_workload(), "nonce", NOW)
    assert (taken.state, taken.side, taken.workload) == (S.OFFERED, "requester", a_workload())
    assert taken.deadline == taken.until + MARGIN == NOW + LEASE_TERM + MARGIN
    assert effect == SendCommit(subject=ID)


def test_a_commit_that_arrived_is_followed_by_the_deposit() -> None:
    after, effects = step(lease(S.OFFERED), CommitAcknowledged(), NOW)
    assert (after.state, effects) == (S.ACCEPTED, [FundChannel(subject=ID)])


@pytest.mark.parametrize("state", LEASED)
def test_a_commit_that_is_acknowledged_again_changes_no_state(state: LeaseState) -> None:
    after, effects = step(lease(state), CommitAcknowledged(), NOW + 1)
    assert (after.state, after.acknowledged_at, effects) == (state, NOW + 1, [])


def test_a_refused_commit_costs_nothing_and_sends_the_job_elsewhere() -> None:
    after, effects = step(lease(S.OFFERED), CommitRefused(reason="LEASE_GONE"), NOW)
    assert (after.state, after.outcome, after.code, after.deadline) == (S.SETTLED, "lost", "COMMIT_REFUSED", 0)
    assert told(effects) == LeaseLost(lease=ID, code="COMMIT_REFUSED", message="LEASE_GONE", paid=Amount(0))


def test_phases_only_ever_advance() -> None:
    later, _ = step(lease(S.ACCEPTED), PhaseReported(state=S.STARTING), NOW)
    earlier, effects = step(later, PhaseReported(state=S.PULLING), NOW)
    assert (later.state, earlier.state, effects) == (S.STARTING, S.STARTING, [])


@pytest.mark.parametrize("state", [*ENDED, S.SETTLED, S.OFFERED])
def test_an_end_needs_a_receipt_and_not_a_report(state: LeaseState) -> None:
    after, effects = step(lease(S.PULLING), PhaseReported(state=state), NOW)
    assert (after.state, effects) == (S.PULLING, [])


def test_the_job_is_told_once_that_its_workload_runs() -> None:
    report = PhaseReported(state=S.RUNNING, started_at=NOW + 3)
    after, effects = step(lease(S.PULLING), report, NOW + 9)
    assert (after.state, after.started_at) == (S.RUNNING, NOW + 3)
    assert told(effects) == WorkloadBegan(lease=ID, at=NOW + 3)
    assert step(after, report, NOW + 10)[1] == []


@pytest.mark.parametrize(("word", "taken"), [(1, NOW), (2**53, NOW + 9), (0, NOW + 9)], ids=["early", "late", "none"])
def test_the_start_lies_between_the_agreement_and_now_whatever_the_provider_says(word: int, taken: int) -> None:
    after, _ = step(lease(S.STARTING), PhaseReported(state=S.RUNNING, started_at=word), NOW + 9)
    assert after.started_at == taken


# --- renewals ---


def test_the_lease_counts_as_extended_from_the_moment_of_sending() -> None:
    after, effects = step(lease(S.RUNNING), RenewalSent(until=NOW + 40_000), NOW)
    assert (after.until, after.deadline, effects) == (NOW + 40_000, NOW + 40_000 + MARGIN, [])


def test_an_earlier_renewal_takes_nothing_back() -> None:
    after, _ = step(lease(S.RUNNING), RenewalSent(until=NOW + 1), NOW)
    assert after.until == NOW + 30_000


def test_sending_is_not_hearing() -> None:
    sent, _ = step(lease(S.RUNNING), RenewalSent(until=NOW + 40_000), NOW + 5)
    heard, _ = step(sent, ProviderHeard(), NOW + 6)
    assert (sent.acknowledged_at, heard.acknowledged_at) == (NOW, NOW + 6)


@pytest.mark.parametrize("state", OPEN)
def test_a_silent_provider_is_lost_and_paid_what_was_acknowledged(state: LeaseState) -> None:
    after, effects = step(lease(state, paid=20, due=20, deadline=NOW), DeadlinePassed(), NOW)
    assert (after.state, after.outcome, after.code, after.due) == (S.SETTLED, "lost", "PROVIDER_LOST", 20)
    assert told(effects).paid == 20
    assert effects_named(effects) == ["Tell"]


# --- usage and the end ---


def test_an_acknowledged_use_is_what_is_due_so_far() -> None:
    after, _ = step(lease(S.RUNNING), UsageAcknowledged(seconds=3, paid=Amount(30)), NOW + 1)
    assert (after.seconds, after.due, after.paid, after.paid_at) == (3, 30, 30, NOW + 1)


@pytest.mark.parametrize("state", [S.RUNNING, *ENDED])
def test_what_was_promised_never_falls(state: LeaseState) -> None:
    after, _ = step(lease(state, paid=30), UsageAcknowledged(seconds=1, paid=Amount(10)), NOW)
    assert after.paid == 30


def test_a_result_without_files_ends_the_job_and_pays() -> None:
    after, effects = step(lease(S.RUNNING), received(), NOW + 6000)
    assert (after.state, after.due, after.seconds, after.receipt) == (S.FINISHED, 50, 5, a_receipt())
    done = told(effects)
    assert isinstance(done, WorkloadDone)
    assert (done.exit_code, done.due, done.seconds) == (0, 50, 5)
    assert effects[-1] == SendPayment(subject=ID)


def test_a_result_with_files_is_fetched_before_the_job_ends() -> None:
    after, effects = step(lease(S.RUNNING), received(outputs=(a_file(),)), NOW + 6000)
    assert (after.state, after.deadline, effects) == (S.FINISHED, 0, [FetchOutputs(subject=ID)])
    stored, effects = step(after, OutputsStored(), NOW + 7000)
    assert isinstance(told(effects), WorkloadDone)
    assert (stored.deadline, effects[-1]) == (NOW + 7000 + SETTLE_WITHIN, SendPayment(subject=ID))


def test_outputs_that_are_lost_cost_what_was_acknowledged_and_the_job_goes_elsewhere() -> None:
    before = lease(S.FINISHED, paid=20, due=50, receipt=a_receipt(outputs=(a_file(),)))
    after, effects = step(before, OutputsLost(message="gone"), NOW)
    assert (after.state, after.code, after.due) == (S.LOST, "OUTPUTS_LOST", 20)
    assert told(effects) == LeaseLost(lease=ID, code="OUTPUTS_LOST", message="gone", paid=Amount(20))


@pytest.mark.parametrize("code", ["", "TIMEOUT", "OUT_OF_MEMORY", "KILLED"])
def test_ends_that_are_the_users_own_end_the_job(code: str) -> None:
    after, effects = step(lease(S.RUNNING), received(code=code), NOW)
    assert after.state is S.FINISHED
    assert isinstance(told(effects), WorkloadDone)


@pytest.mark.parametrize("code", ["IMAGE_NOT_FOUND", "IMAGE_REFUSED", "INPUT_MISSING"])
def test_what_another_provider_would_only_repeat_ends_the_job(code: str) -> None:
    after, effects = step(lease(S.PULLING), received(exit_code=-1, code=code, due=0, seconds=0), NOW)
    assert after.state is S.FAILED
    assert isinstance(told(effects), WorkloadDone)


@pytest.mark.parametrize(
    "code", ["INFRASTRUCTURE", "NOT_FUNDED", "START_TIMEOUT", "UNPAID", "LEASE_EXPIRED", "CANCELLED"]
)
def test_the_providers_faults_send_the_job_elsewhere(code: str) -> None:
    after, effects = step(lease(S.RUNNING, paid=20), received(exit_code=-1, code=code, due=20), NOW)
    assert after.state is S.FAILED
    lost = told(effects)
    assert isinstance(lost, LeaseLost)
    assert (lost.code, lost.paid, effects[-1]) == (code, 20, SendPayment(subject=ID))


@pytest.mark.parametrize("code", FAULTS)
def test_the_providers_faults_cost_nothing_beyond_what_was_acknowledged(code: str) -> None:
    assert bill_limit(lease(S.RUNNING, paid=20), a_receipt(code=code)) == 20


@pytest.mark.parametrize("code", ["", "TIMEOUT", "UNPAID"])
def test_all_other_ends_cost_what_their_seconds_cost(code: str) -> None:
    assert bill_limit(lease(S.RUNNING, paid=20), a_receipt(code=code)) == 50
    assert bill_limit(lease(S.RUNNING, paid=70), a_receipt(code=code)) == 70


def test_an_end_that_we_asked_for_costs_what_its_seconds_cost() -> None:
    assert bill_limit(lease(S.CANCELLED, paid=20), a_receipt(code="CANCELLED")) == 50


def test_moments_that_the_provider_names_lie_within_our_own_clock() -> None:
    after, _ = step(lease(S.PULLING), received(started_at=1, ended_at=2**53), NOW + 6000)
    assert (after.started_at, after.ended_at) == (NOW, NOW + 6000)


# --- cancelled ---


@pytest.mark.parametrize("state", OPEN)
def test_a_cancelled_lease_asks_its_provider_to_stop(state: LeaseState) -> None:
    after, effects = step(lease(state), TenantCancelled(), NOW + 1)
    assert (after.state, after.deadline, effects) == (S.CANCELLED, NOW + 30_000 + MARGIN, [SendCancel(subject=ID)])


def test_a_cancelled_lease_pays_what_the_receipt_says() -> None:
    after, effects = step(lease(S.CANCELLED, paid=20), received(code="CANCELLED", exit_code=-1), NOW)
    assert (after.state, after.due, after.outcome) == (S.CANCELLED, 50, "cancelled")
    assert told(effects).due == 50
    assert effects[-1] == SendPayment(subject=ID)


def test_a_cancelled_lease_without_a_receipt_costs_what_was_acknowledged() -> None:
    after, effects = step(lease(S.CANCELLED, paid=20, deadline=NOW), DeadlinePassed(), NOW)
    assert (after.state, after.due) == (S.SETTLED, 20)
    assert told(effects).paid == 20


def test_a_cancelled_lease_tells_its_bill_once() -> None:
    closed, _ = step(lease(S.CANCELLED), received(), NOW)
    settled, effects = step(closed, DeadlinePassed(), NOW + SETTLE_WITHIN)
    assert (settled.state, settled.due, effects) == (S.SETTLED, 50, [])


# --- settled ---


@pytest.mark.parametrize("state", ENDED)
def test_a_confirmed_payment_settles(state: LeaseState) -> None:
    after, effects = step(lease(state), PaymentConfirmed(), NOW)
    assert (after.state, after.deadline, effects) == (S.SETTLED, 0, [])


@pytest.mark.parametrize("state", [S.FINISHED, S.FAILED, S.LOST])
def test_a_provider_that_does_not_take_its_last_voucher_is_not_waited_for(state: LeaseState) -> None:
    after, effects = step(lease(state, deadline=NOW), DeadlinePassed(), NOW)
    assert (after.state, effects) == (S.SETTLED, [])


def test_outputs_are_waited_for_by_their_own_clock() -> None:
    with pytest.raises(InvalidTransition):
        step(lease(S.FINISHED, deadline=0), DeadlinePassed(), MUCH_LATER)


# --- every history ---


def a_bill(present: Lease, code: str, seconds: int, has_outputs: bool) -> Event:
    """A receipt as the node lets it through: never above the limit of its kind."""
    draft = Receipt(
        lease=ID, exit_code=0, code=code, started_at=NOW, seconds=seconds, outputs=(a_file(),) * has_outputs
    )
    due = min(cost_of(present.terms, seconds), bill_limit(present, draft))
    return ReceiptReceived(receipt=a_receipt(code=code, seconds=seconds, due=due, outputs=draft.outputs), signature=b"")


MOVES: dict[str, Any] = {
    "acknowledge": lambda present, now, amount: CommitAcknowledged(),
    "refuse": lambda present, now, amount: CommitRefused(reason="LEASE_GONE"),
    "advance": lambda present, now, amount: PhaseReported(state=[*LeaseState][amount % 6], started_at=now + amount),
    "run": lambda present, now, amount: PhaseReported(state=S.RUNNING, started_at=amount),
    "renew": lambda present, now, amount: RenewalSent(until=now + 40 * amount),
    "hear": lambda present, now, amount: ProviderHeard(),
    "use": lambda present, now, amount: UsageAcknowledged(seconds=amount, paid=cost_of(present.terms, amount)),
    "finish": lambda present, now, amount: a_bill(present, "", amount, amount % 2 == 0),
    "break": lambda present, now, amount: a_bill(present, "INFRASTRUCTURE", amount, False),
    "stored": lambda present, now, amount: OutputsStored(),
    "unstored": lambda present, now, amount: OutputsLost(message="gone"),
    "cancel": lambda present, now, amount: TenantCancelled(),
    "confirm": lambda present, now, amount: PaymentConfirmed(),
    "deadline": lambda present, now, amount: DeadlinePassed(),
}
AWAITED = {"stored": "FetchOutputs", "unstored": "FetchOutputs", "confirm": "SendPayment"}
"""Events that are the answer of an effect: they come once, after it was asked for."""
moves = st.lists(
    st.tuples(st.sampled_from([*MOVES, "run", "use", "renew"]), st.integers(0, 900), st.integers(0, 40_000)),
    max_size=40,
)


def check(before: Lease, after: Lease) -> None:
    assert before.state is not S.SETTLED
    assert after.paid >= before.paid
    assert after.until >= before.until
    assert max(after.due, after.paid) <= after.terms.cap
    if before.receipt is not None and before.state is not S.CANCELLED:
        assert after.receipt == before.receipt


@given(moves)
def test_every_history_pays_within_the_cap_and_tells_its_job_one_end(history: list[tuple[str, int, int]]) -> None:
    present, first = take_lease(terms(), JOB, "channel", a_workload(), "nonce", NOW)
    now, open_effects, ends = NOW, [type(first).__name__], list[Event]()
    for what, amount, pause in history:
        before, now = present, now + pause
        if AWAITED.get(what, "SendCommit") not in open_effects or (what == "finish" and present.receipt):
            continue
        try:
            present, effects = step(before, MOVES[what](before, now, amount), now)
        except InvalidTransition:
            continue
        if what in AWAITED:
            open_effects.remove(AWAITED[what])
        open_effects += effects_named(effects)
        ends += [e.event for e in effects if isinstance(e, Tell) and not isinstance(e.event, WorkloadBegan)]
        check(before, present)
    assert len(ends) <= 1
    assert len(ends) == 1 or present.state is not S.SETTLED
    for end in ends:
        assert (end.due if isinstance(end, WorkloadDone) else end.paid) == present.due
