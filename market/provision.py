"""The provider's side of a lease: reserve, wait for the deposit, prepare, start, run, report, be paid.

OFFERED   the proposal is accepted and signed, capacity is reserved; the requester commits or lets go.
ACCEPTED  committed; the provider waits until the channel covers the cap.
PULLING   image and inputs are fetched (not billed).
STARTING  the container is created and started (not billed).
RUNNING   the clock of the bill runs; statements go out, vouchers come in.
FINISHED  the program ended, or reached a limit that the requester set; the receipt is out, payment is awaited.
FAILED    the provider's side is at fault, or was not paid. CANCELLED on the requester's wish. LOST without renewals.
SETTLED   paid, or given up on; `outcome` says how it ended.
"""

from msgspec.structs import replace

from market.billing import TOLERANCE
from market.errors import InvalidTransition
from market.leases import (
    COMMIT_WITHIN,
    ENDED,
    FUND_WITHIN,
    LEASE_TERM,
    OPEN,
    PREPARE_WITHIN,
    SETTLE_WITHIN,
    START_WITHIN,
    Lease,
    LeaseState,
    Terms,
    billed_seconds,
    owed_for,
    renewed_until,
    term_ends_at,
)
from market.machines import DeadlinePassed, Event, Rules, Step, take_step
from market.probing import first_health
from market.provision_events import (
    AwaitFunding,
    CancelRequested,
    ChannelFunded,
    CleanUp,
    Committed,
    CreditExhausted,
    ForgetLease,
    HealthChanged,
    LeaseExpired,
    LeaseExtended,
    PortsOpened,
    PreparationFailed,
    PrepareWorkload,
    ProposalReleased,
    Renewed,
    RunsCounted,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    VoucherAccepted,
    WatchWorkload,
    WorkloadEnded,
    WorkloadPrepared,
    WorkloadStarted,
)
from market.receipts import Receipt
from market.units import Amount
from market.workloads import WorkloadKind

S = LeaseState


def accept_proposal(terms: Terms, channel: str, now: int) -> Lease:
    """A new lease in OFFERED: capacity is held until the requester commits or the deadline passes.

    `until` counts from here, not from the commit: the requester's own term begins before its commit arrives.
    """
    return Lease(
        id=terms.lease,
        side="provider",
        job="",
        terms=terms,
        channel=channel,
        deadline=now + COMMIT_WITHIN,
        until=renewed_until(now + LEASE_TERM, now),
        created_at=now,
        acknowledged_at=now,
    )


def step(lease: Lease, event: Event, now: int) -> Step[Lease]:
    """The provider's lease after `event`; see RULES."""
    return take_step(RULES, lease, lease.state, event, now)


def _commit(lease: Lease, event: Committed, now: int) -> Step[Lease]:
    after = replace(
        lease,
        state=S.ACCEPTED,
        workload=event.workload,
        nonce=event.nonce,
        deadline=now + FUND_WITHIN,
    )
    return after, [AwaitFunding(subject=lease.id)]


def _pull(lease: Lease, event: ChannelFunded, now: int) -> Step[Lease]:
    return replace(lease, state=S.PULLING, deadline=now + PREPARE_WITHIN), [PrepareWorkload(subject=lease.id)]


def _start(lease: Lease, event: WorkloadPrepared, now: int) -> Step[Lease]:
    after = replace(lease, state=S.STARTING, image=event.image, deadline=now + START_WITHIN)
    return after, [StartWorkload(subject=lease.id)]


def _run(lease: Lease, event: WorkloadStarted, now: int) -> Step[Lease]:
    health = first_health(lease.workload)
    began = max(event.at, now - TOLERANCE * 1000)  # the requester was told meanwhile that it does not run yet
    after = replace(lease, state=S.RUNNING, started_at=began, paid_at=now, health=health)
    after = replace(after, deadline=term_ends_at(after) if _stays_up(lease) else 0)
    return after, [WatchWorkload(subject=lease.id)]


def _stays_up(lease: Lease) -> bool:
    """Whether it ends when its time is over, and not by itself: batch work has its limit in the engine."""
    return lease.workload is not None and lease.workload.kind in (WorkloadKind.SERVICE, WorkloadKind.RUNNER)


def _go_on(lease: Lease, event: LeaseExtended, now: int) -> Step[Lease]:
    after = replace(lease, terms=event.terms)
    return replace(after, deadline=term_ends_at(after)), []


def _end_term(lease: Lease, event: DeadlinePassed, now: int) -> Step[Lease]:
    after, effects = _close(lease, S.FINISHED, _stopped(lease, "TERM_ENDED", "the agreed time is over", now), now)
    return after, [StopWorkload(subject=lease.id), *effects]


def _note_health(lease: Lease, event: HealthChanged, now: int) -> Step[Lease]:
    return replace(lease, health=event.health), []


def _note_ports(lease: Lease, event: PortsOpened, now: int) -> Step[Lease]:
    return replace(lease, direct=event.direct), []


def _count(lease: Lease, event: RunsCounted, now: int) -> Step[Lease]:
    return replace(lease, runs=max(lease.runs, event.runs)), []


def _end(lease: Lease, event: WorkloadEnded, now: int) -> Step[Lease]:
    is_ours = event.code == "INFRASTRUCTURE"
    started = min(max(event.started_at, lease.started_at), event.ended_at) or lease.started_at
    seconds = min(billed_seconds(started, event.ended_at), lease.terms.timeout)
    receipt = Receipt(
        lease=lease.id,
        exit_code=event.exit_code,
        code=event.code,
        message=event.message[:1024],
        started_at=started,
        ended_at=event.ended_at,
        seconds=seconds,
        runs=lease.runs,
        due=lease.paid if is_ours else max(lease.paid, owed_for(lease.terms, seconds, lease.runs)),
        outputs=event.outputs,
        log_lines=event.log_lines,
        log_head=event.log_head,
    )
    return _close(lease, S.FAILED if is_ours else S.FINISHED, receipt, now)


def _fail(lease: Lease, event: PreparationFailed, now: int) -> Step[Lease]:
    return _close(lease, S.FAILED, _unstarted(lease, event.code, event.message, now), now)


def _cancel(lease: Lease, event: CancelRequested, now: int) -> Step[Lease]:
    after, effects = _close(lease, S.CANCELLED, _stopped(lease, "CANCELLED", "cancelled by the requester", now), now)
    return after, [StopWorkload(subject=lease.id), *effects]


def _stop_unpaid(lease: Lease, event: CreditExhausted, now: int) -> Step[Lease]:
    after, effects = _close(lease, S.FAILED, _stopped(lease, "UNPAID", "no voucher covered the statements", now), now)
    return after, [StopWorkload(subject=lease.id), *effects]


def _lose(lease: Lease, event: LeaseExpired, now: int) -> Step[Lease]:
    if now < lease.until:
        raise InvalidTransition("the lease was renewed meanwhile", state=lease.state, until=lease.until, now=now)
    receipt = _stopped(lease, "LEASE_EXPIRED", "no renewal came in time", now)
    after, effects = _close(lease, S.LOST, replace(receipt, due=lease.paid), now)
    return after, [StopWorkload(subject=lease.id), *effects]


def _let_go(lease: Lease, event: Event, now: int) -> Step[Lease]:
    after = replace(lease, state=S.SETTLED, outcome=S.CANCELLED.value, code="RELEASED", deadline=0, ended_at=now)
    return after, [ForgetLease(subject=lease.id)]


def _time_out(lease: Lease, event: DeadlinePassed, now: int) -> Step[Lease]:
    code = {S.ACCEPTED: "NOT_FUNDED", S.PULLING: "PULL_TIMEOUT", S.STARTING: "START_TIMEOUT"}[lease.state]
    after, effects = _close(lease, S.FAILED, _unstarted(lease, code, f"{lease.state} took too long", now), now)
    return after, [StopWorkload(subject=lease.id), *effects]


def _extend(lease: Lease, event: Renewed, now: int) -> Step[Lease]:
    return replace(lease, until=max(lease.until, event.until), acknowledged_at=now), []


def _credit(lease: Lease, event: VoucherAccepted, now: int) -> Step[Lease]:
    return replace(lease, paid=Amount(max(lease.paid, event.paid)), paid_at=now, acknowledged_at=now), []


def _be_paid(lease: Lease, event: VoucherAccepted, now: int) -> Step[Lease]:
    after, _ = _credit(lease, event, now)
    return _settle(after, event, now) if after.paid >= after.due else (after, [])


def _settle(lease: Lease, event: Event, now: int) -> Step[Lease]:
    return replace(lease, state=S.SETTLED, deadline=0), [CleanUp(subject=lease.id)]


def _close(lease: Lease, state: LeaseState, receipt: Receipt, now: int) -> Step[Lease]:
    after = replace(
        lease,
        state=state,
        outcome=state.value,
        receipt=receipt,
        seconds=receipt.seconds,
        due=Amount(receipt.due),
        code=receipt.code,
        message=receipt.message,
        ended_at=receipt.ended_at or now,
        deadline=now + SETTLE_WITHIN,
    )
    return after, [SendReceipt(subject=lease.id)]


def _unstarted(lease: Lease, code: str, message: str, now: int) -> Receipt:
    return Receipt(lease=lease.id, exit_code=-1, code=code, message=message[:1024], ended_at=now, due=lease.paid)


def _stopped(lease: Lease, code: str, message: str, now: int) -> Receipt:
    seconds = min(billed_seconds(lease.started_at, now), lease.terms.timeout)
    return Receipt(
        lease=lease.id,
        exit_code=-1,
        code=code,
        message=message,
        started_at=lease.started_at,
        ended_at=now,
        seconds=seconds,
        runs=lease.runs,
        due=max(lease.paid, owed_for(lease.terms, seconds, lease.runs)),
    )


RULES: Rules[Lease] = {
    (S.OFFERED, Committed): _commit,
    (S.OFFERED, ProposalReleased): _let_go,
    (S.OFFERED, DeadlinePassed): _let_go,
    (S.ACCEPTED, ChannelFunded): _pull,
    (S.PULLING, WorkloadPrepared): _start,
    (S.ACCEPTED, PreparationFailed): _fail,
    (S.PULLING, PreparationFailed): _fail,
    (S.STARTING, PreparationFailed): _fail,
    (S.STARTING, WorkloadStarted): _run,
    (S.RUNNING, WorkloadEnded): _end,
    (S.RUNNING, CreditExhausted): _stop_unpaid,
    (S.RUNNING, LeaseExtended): _go_on,
    (S.RUNNING, HealthChanged): _note_health,
    (S.RUNNING, PortsOpened): _note_ports,
    (S.RUNNING, RunsCounted): _count,
    (S.RUNNING, DeadlinePassed): _end_term,
    **{(state, DeadlinePassed): _time_out for state in (S.ACCEPTED, S.PULLING, S.STARTING)},
    **{(state, CancelRequested): _cancel for state in OPEN if state is not S.OFFERED},
    **{(state, LeaseExpired): _lose for state in OPEN if state is not S.OFFERED},
    **{(state, Renewed): _extend for state in OPEN},
    (S.RUNNING, VoucherAccepted): _credit,
    **{(state, VoucherAccepted): _be_paid for state in ENDED},
    **{(state, DeadlinePassed): _settle for state in ENDED},
}
