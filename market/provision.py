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
    cost_of,
    renewed_until,
)
from market.machines import DeadlinePassed, Effect, Event, QuietEvent, Rules, Step, take_step
from market.receipts import GENESIS, Receipt
from market.units import Amount
from market.workloads import File, Workload

S = LeaseState


# --- events --------------------------------------------------------------------------------------------------------


class Committed(Event, frozen=True, tag=True, kw_only=True):
    """The requester committed and sent the workload, sealed to us."""

    workload: Workload
    nonce: str


class ChannelFunded(Event, frozen=True, tag=True, kw_only=True):
    """The channel covers this lease's cap beside all other open leases of the pair."""


class WorkloadPrepared(Event, frozen=True, tag=True, kw_only=True):
    """Image and inputs are here; `image` is content-addressed."""

    image: str


class PreparationFailed(Event, frozen=True, tag=True, kw_only=True):
    """The workload can not start: code IMAGE_NOT_FOUND, IMAGE_REFUSED, INPUT_MISSING, PULL_LIMIT or INFRASTRUCTURE."""

    code: str
    message: str


class WorkloadStarted(Event, frozen=True, tag=True, kw_only=True):
    """The container runs since `at`."""

    at: int


class WorkloadEnded(Event, frozen=True, tag=True, kw_only=True):
    """The container ended; `code` as in Receipt, "INFRASTRUCTURE" when the engine is to blame."""

    exit_code: int
    code: str = ""
    message: str = ""
    started_at: int
    ended_at: int
    outputs: tuple[File, ...] = ()
    log_lines: int = 0
    log_head: str = GENESIS


class VoucherAccepted(Event, frozen=True, tag=True, kw_only=True):
    """A voucher covers the lease up to `paid` base units."""

    paid: Amount


class Renewed(QuietEvent, frozen=True, tag=True, kw_only=True):
    """The requester extended the lease to `until`."""

    until: int


class ProposalReleased(Event, frozen=True, tag=True, kw_only=True):
    """The requester let go of our acceptance."""


class CancelRequested(Event, frozen=True, tag=True, kw_only=True):
    """The requester wants it to end now."""


class CreditExhausted(Event, frozen=True, tag=True, kw_only=True):
    """No voucher covered our statements for too long: no voucher, no work."""


class LeaseExpired(Event, frozen=True, tag=True, kw_only=True):
    """No renewal came in time; the provider stops before the requester counts the lease as over."""


# --- effects -------------------------------------------------------------------------------------------------------


class AwaitFunding(Effect, frozen=True, tag=True, kw_only=True):
    """Watch the channel until it covers the cap."""


class PrepareWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Fetch image and inputs."""


class StartWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Create and start the container."""


class WatchWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """Stream logs and wait for the end of the container, then collect outputs."""


class StopWorkload(Effect, frozen=True, tag=True, kw_only=True):
    """End the container; the watcher or the receipt follows."""


class SendReceipt(Effect, frozen=True, tag=True, kw_only=True):
    """Tell the requester how it ended, until it answers."""


class ForgetLease(Effect, frozen=True, tag=True, kw_only=True):
    """Drop a proposal that came to nothing, and its journal: anybody can make any number of them."""


class CleanUp(Effect, frozen=True, tag=True, kw_only=True):
    """Remove container, volumes and inputs."""


# --- rules ---------------------------------------------------------------------------------------------------------


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
    after = replace(lease, state=S.RUNNING, started_at=event.at, paid_at=now, deadline=0)
    return after, [WatchWorkload(subject=lease.id)]


def _end(lease: Lease, event: WorkloadEnded, now: int) -> Step[Lease]:
    is_ours = event.code == "INFRASTRUCTURE"
    started = event.started_at or lease.started_at
    seconds = min(billed_seconds(started, event.ended_at), lease.terms.timeout)
    receipt = Receipt(
        lease=lease.id,
        exit_code=event.exit_code,
        code=event.code,
        message=event.message[:1024],
        started_at=started,
        ended_at=event.ended_at,
        seconds=seconds,
        due=lease.paid if is_ours else max(lease.paid, cost_of(lease.terms, seconds)),
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
        due=max(lease.paid, cost_of(lease.terms, seconds)),
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
    **{(state, DeadlinePassed): _time_out for state in (S.ACCEPTED, S.PULLING, S.STARTING)},
    **{(state, CancelRequested): _cancel for state in OPEN if state is not S.OFFERED},
    **{(state, LeaseExpired): _lose for state in OPEN if state is not S.OFFERED},
    **{(state, Renewed): _extend for state in OPEN},
    (S.RUNNING, VoucherAccepted): _credit,
    **{(state, VoucherAccepted): _be_paid for state in ENDED},
    **{(state, DeadlinePassed): _settle for state in ENDED},
}
