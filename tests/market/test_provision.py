"""The provider's side of a lease: what each rule means, what is refused, and what holds over every history."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market import provision_events
from market.errors import InvalidTransition
from market.leases import (
    COMMIT_WITHIN,
    ENDED,
    FUND_WITHIN,
    LEASE_TERM,
    MARGIN,
    OPEN,
    PREPARE_WITHIN,
    SETTLE_WITHIN,
    START_WITHIN,
    Lease,
    LeaseState,
)
from market.machines import DeadlinePassed, Event
from market.provision import RULES, accept_proposal, step
from market.provision_events import (
    AwaitFunding,
    CancelRequested,
    ChannelFunded,
    CleanUp,
    Committed,
    CreditExhausted,
    ForgetLease,
    LeaseExpired,
    PreparationFailed,
    PrepareWorkload,
    ProposalReleased,
    Renewed,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    VoucherAccepted,
    WatchWorkload,
    WorkloadEnded,
    WorkloadPrepared,
    WorkloadStarted,
)
from market.units import Amount
from tests.builders import NOW, a_file, a_lease, a_workload, terms
from tests.market.machine_walks import an_event, effects_named, events_of, name_of, refused

S = LeaseState
ID = "lse_000001"
LEASED = tuple(state for state in OPEN if state is not S.OFFERED)
COMMIT = Committed(workload=a_workload(), nonce="nonce")
MUCH_LATER = NOW + 10**8


def lease(state: LeaseState, **changes: object) -> Lease:
    return a_lease("provider", **{"state": state, **changes})


def ended(**changes: Any) -> WorkloadEnded:
    return WorkloadEnded(**{"exit_code": 0, "started_at": NOW, "ended_at": NOW + 5000, **changes})


@pytest.mark.parametrize(("state", "event"), refused(RULES, LeaseState, events_of(provision_events)), ids=name_of)
def test_a_pair_that_is_not_in_the_table_is_refused(state: LeaseState, event: type[Event]) -> None:
    with pytest.raises(InvalidTransition):
        step(lease(state), an_event(event), MUCH_LATER)


@pytest.mark.parametrize(("state", "event"), RULES, ids=name_of)
def test_a_pair_in_the_table_leads_to_a_state_of_the_same_lease(state: LeaseState, event: type[Event]) -> None:
    after, effects = step(lease(state), an_event(event), MUCH_LATER)
    assert after.id == ID
    assert {effect.subject for effect in effects} <= {ID}


# --- from the offer to the start ---


def test_an_accepted_proposal_holds_capacity_for_the_commit() -> None:
    offered = accept_proposal(terms(), "channel", NOW)
    assert (offered.state, offered.side, offered.deadline) == (S.OFFERED, "provider", NOW + COMMIT_WITHIN)


def test_the_term_counts_from_the_acceptance_so_that_it_ends_before_the_requesters() -> None:
    offered = accept_proposal(terms(), "channel", NOW)
    committed, _ = step(offered, COMMIT, NOW + COMMIT_WITHIN - 1)
    assert committed.until == offered.until == NOW + LEASE_TERM - MARGIN


def test_a_commit_brings_the_workload_and_waits_for_the_deposit() -> None:
    after, effects = step(lease(S.OFFERED), COMMIT, NOW)
    assert (after.state, after.workload, after.nonce) == (S.ACCEPTED, a_workload(), "nonce")
    assert (after.deadline, effects) == (NOW + FUND_WITHIN, [AwaitFunding(subject=ID)])


@pytest.mark.parametrize("event", [ProposalReleased(), DeadlinePassed()], ids=["released", "not committed"])
def test_an_offer_that_is_not_taken_frees_its_capacity_and_owes_nothing(event: Event) -> None:
    after, effects = step(lease(S.OFFERED), event, NOW + COMMIT_WITHIN)
    assert (after.state, after.outcome, after.code, after.due) == (S.SETTLED, "cancelled", "RELEASED", 0)
    assert (after.receipt, effects) == (None, [ForgetLease(subject=ID)])


def test_a_funded_lease_fetches_its_image_and_inputs() -> None:
    after, effects = step(lease(S.ACCEPTED), ChannelFunded(), NOW)
    assert (after.state, after.deadline, effects) == (S.PULLING, NOW + PREPARE_WITHIN, [PrepareWorkload(subject=ID)])


def test_a_prepared_lease_starts_the_image_that_was_fetched() -> None:
    after, effects = step(lease(S.PULLING), WorkloadPrepared(image="sha256:1"), NOW)
    assert (after.state, after.image, after.deadline) == (S.STARTING, "sha256:1", NOW + START_WITHIN)
    assert effects == [StartWorkload(subject=ID)]


def test_the_bill_runs_from_the_start_of_the_container() -> None:
    after, effects = step(lease(S.STARTING), WorkloadStarted(at=NOW + 3), NOW + 4)
    assert (after.state, after.started_at, after.deadline) == (S.RUNNING, NOW + 3, 0)
    assert effects == [WatchWorkload(subject=ID)]


def test_what_ran_while_the_requester_heard_that_it_does_not_is_not_billed() -> None:
    began = NOW - 60_000  # the node, or its engine, was away between the start and the word of it
    running, _ = step(lease(S.STARTING), WorkloadStarted(at=began), NOW)
    assert running.started_at == NOW - 3_000
    after, _ = step(running, ended(started_at=began, ended_at=NOW + 1_000), NOW + 1_000)
    assert (after.seconds, after.receipt and after.receipt.started_at) == (4, NOW - 3_000)
    before, _ = step(running, ended(started_at=began, ended_at=began + 500), NOW + 1_000)
    assert (before.seconds, before.receipt and before.receipt.started_at) == (1, began + 500)


@pytest.mark.parametrize("state", [S.ACCEPTED, S.PULLING, S.STARTING])
def test_a_workload_that_can_not_start_fails_unpaid_with_its_code(state: LeaseState) -> None:
    after, effects = step(lease(state), PreparationFailed(code="IMAGE_NOT_FOUND", message="no such image"), NOW)
    assert (after.state, after.code, after.due, after.seconds) == (S.FAILED, "IMAGE_NOT_FOUND", 0, 0)
    assert effects == [SendReceipt(subject=ID)]


@pytest.mark.parametrize(
    ("state", "code"), [(S.ACCEPTED, "NOT_FUNDED"), (S.PULLING, "PULL_TIMEOUT"), (S.STARTING, "START_TIMEOUT")]
)
def test_a_phase_that_takes_too_long_fails_unpaid(state: LeaseState, code: str) -> None:
    after, effects = step(lease(state), DeadlinePassed(), NOW + 10_000)
    assert (after.state, after.code, after.due) == (S.FAILED, code, 0)
    assert effects == [StopWorkload(subject=ID), SendReceipt(subject=ID)]


# --- the end ---


def test_a_program_that_ends_is_billed_by_started_seconds() -> None:
    after, effects = step(lease(S.RUNNING), ended(ended_at=NOW + 4001, outputs=(a_file(),), log_lines=2), NOW + 9000)
    assert (after.state, after.seconds, after.due, after.ended_at) == (S.FINISHED, 5, 50, NOW + 4001)
    assert after.receipt is not None
    assert (after.receipt.outputs, after.receipt.log_lines) == ((a_file(),), 2)
    assert (after.deadline, effects) == (NOW + 9000 + SETTLE_WITHIN, [SendReceipt(subject=ID)])


@pytest.mark.parametrize("code", ["TIMEOUT", "OUT_OF_MEMORY", "KILLED"])
def test_a_limit_that_the_requester_set_is_billed_as_agreed(code: str) -> None:
    after, _ = step(lease(S.RUNNING), ended(exit_code=137, code=code), NOW)
    assert (after.state, after.code, after.due) == (S.FINISHED, code, 50)


def test_an_end_that_is_the_engines_fault_costs_nothing_beyond_what_was_paid() -> None:
    after, _ = step(lease(S.RUNNING, paid=20), ended(code="INFRASTRUCTURE"), NOW)
    assert (after.state, after.due) == (S.FAILED, 20)


def test_no_more_than_the_time_limit_is_billed() -> None:
    after, _ = step(lease(S.RUNNING), ended(ended_at=NOW + 10**7), NOW)
    assert (after.seconds, after.due) == (60, 600)


def test_what_is_paid_already_is_never_paid_back() -> None:
    assert step(lease(S.RUNNING, paid=70), ended(), NOW)[0].due == 70


@pytest.mark.parametrize("state", LEASED)
def test_a_cancelled_lease_stops_its_container_and_bills_what_was_used(state: LeaseState) -> None:
    after, effects = step(lease(state), CancelRequested(), NOW + 2500)
    assert (after.state, after.code) == (S.CANCELLED, "CANCELLED")
    assert after.due == (30 if state is S.RUNNING else 0)
    assert effects == [StopWorkload(subject=ID), SendReceipt(subject=ID)]


def test_no_voucher_no_work() -> None:
    after, effects = step(lease(S.RUNNING, paid=20), CreditExhausted(), NOW + 35_000)
    assert (after.state, after.code, after.due) == (S.FAILED, "UNPAID", 350)
    assert effects == [StopWorkload(subject=ID), SendReceipt(subject=ID)]


@pytest.mark.parametrize("state", LEASED)
def test_a_lease_without_renewals_stops_and_bills_what_was_acknowledged(state: LeaseState) -> None:
    after, effects = step(lease(state, paid=20), LeaseExpired(), NOW + LEASE_TERM)
    assert (after.state, after.code, after.due) == (S.LOST, "LEASE_EXPIRED", 20)
    assert effects == [StopWorkload(subject=ID), SendReceipt(subject=ID)]


def test_a_lease_that_was_renewed_meanwhile_does_not_expire() -> None:
    with pytest.raises(InvalidTransition, match="renewed meanwhile"):
        step(lease(S.RUNNING, until=NOW + 5), LeaseExpired(), NOW + 4)


# --- renewals and vouchers ---


def test_a_renewal_only_ever_extends() -> None:
    later, _ = step(lease(S.RUNNING), Renewed(until=NOW + 50_000), NOW)
    earlier, _ = step(later, Renewed(until=NOW + 40_000), NOW)
    assert later.until == earlier.until == NOW + 50_000


def test_a_voucher_only_ever_adds() -> None:
    more, _ = step(lease(S.RUNNING), VoucherAccepted(paid=Amount(30)), NOW)
    less, _ = step(more, VoucherAccepted(paid=Amount(20)), NOW)
    assert more.paid == less.paid == 30


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_lease_settles_when_all_is_paid(state: LeaseState) -> None:
    part, kept = step(lease(state, due=50), VoucherAccepted(paid=Amount(49)), NOW)
    whole, effects = step(part, VoucherAccepted(paid=Amount(50)), NOW)
    assert (part.state, kept) == (state, [])
    assert (whole.state, whole.deadline, effects) == (S.SETTLED, 0, [CleanUp(subject=ID)])


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_lease_settles_on_silence(state: LeaseState) -> None:
    after, effects = step(lease(state, due=50, deadline=NOW), DeadlinePassed(), NOW)
    assert (after.state, after.paid, effects) == (S.SETTLED, 0, [CleanUp(subject=ID)])


# --- every history ---

PHASES = (S.OFFERED, S.ACCEPTED, S.PULLING, S.STARTING, S.RUNNING)
MOVES = {
    "commit": lambda now, amount: COMMIT,
    "fund": lambda now, amount: ChannelFunded(),
    "prepare": lambda now, amount: WorkloadPrepared(image="sha256:1"),
    "unprepared": lambda now, amount: PreparationFailed(code="INFRASTRUCTURE", message=""),
    "start": lambda now, amount: WorkloadStarted(at=now - amount % 1000),
    "end": lambda now, amount: ended(started_at=0, ended_at=now, exit_code=amount % 2),
    "break": lambda now, amount: ended(started_at=0, ended_at=now, code="INFRASTRUCTURE"),
    "pay": lambda now, amount: VoucherAccepted(paid=Amount(amount)),
    "renew": lambda now, amount: Renewed(until=now + amount * 40),
    "release": lambda now, amount: ProposalReleased(),
    "cancel": lambda now, amount: CancelRequested(),
    "exhaust": lambda now, amount: CreditExhausted(),
    "expire": lambda now, amount: LeaseExpired(),
    "deadline": lambda now, amount: DeadlinePassed(),
}
FORWARD = ["commit", "fund", "prepare", "start"]
moves = st.lists(
    st.tuples(st.sampled_from([*MOVES, *FORWARD, *FORWARD]), st.integers(0, 900), st.integers(0, 40_000)), max_size=40
)


def check(before: Lease, after: Lease, effects: list[Any], now: int) -> None:
    assert after.paid >= before.paid
    assert after.until >= before.until
    assert before.state is not S.SETTLED
    assert after.seconds <= after.terms.timeout
    assert after.due <= max(after.paid, after.terms.cap)
    if before.state in OPEN and after.state in ENDED:
        assert after.receipt is not None
        assert (after.receipt.due, after.receipt.seconds) == (after.due, after.seconds)
        assert effects[-1] == SendReceipt(subject=ID)
    if before.state in ENDED:
        assert (after.due, after.receipt, after.outcome) == (before.due, before.receipt, before.outcome)
    if after.state is not before.state and after.state in PHASES:
        assert PHASES.index(after.state) == PHASES.index(before.state) + 1


@given(moves)
def test_every_history_moves_on_bills_within_its_limits_and_cleans_up(history: list[tuple[str, int, int]]) -> None:
    now, present, performed = NOW, accept_proposal(terms(), "channel", NOW), list[str]()
    for what, amount, pause in history:
        before, now = present, now + pause
        try:
            present, effects = step(before, MOVES[what](now, amount), now)
        except InvalidTransition:
            continue
        performed += effects_named(effects)
        check(before, present, effects, now)
    assert len(performed) - performed.count("StopWorkload") == len(set(performed) - {"StopWorkload"})
    if present.state is S.SETTLED:
        assert performed.count("CleanUp") == 1 or "StartWorkload" not in performed
    if present.state in (*ENDED, S.SETTLED) and "StartWorkload" in performed:
        ended_by_itself = present.receipt is not None and present.receipt.code in ("", "INFRASTRUCTURE")
        assert "StopWorkload" in performed or ended_by_itself


@given(moves)
def test_a_settled_lease_refuses_everything(history: list[tuple[str, int, int]]) -> None:
    settled = replace(lease(S.SETTLED), deadline=0)
    for what, amount, pause in history:
        with pytest.raises(InvalidTransition):
            step(settled, MOVES[what](NOW + pause, amount), NOW + pause)
