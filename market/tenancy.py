"""The requester's side of a lease: commit, fund, renew, acknowledge usage, take the result, pay, or declare it lost.

OFFERED   a provider accepted the proposal; the lease is stored, the commit is on its way.
ACCEPTED  the provider holds the commit; the channel is being funded.
PULLING, STARTING, RUNNING  as the provider reports.
FINISHED, FAILED, CANCELLED  the provider's receipt is here; outputs are fetched and the last voucher is sent.
LOST      the provider is silent and the last renewal has run out; only what was acknowledged is paid.
SETTLED   the provider confirmed the last voucher, or there is nothing to pay.
"""

from msgspec.structs import replace

from market.jobs import LeaseLost, TenantCancelled, WorkloadBegan, WorkloadDone
from market.leases import ENDED, LEASE_TERM, MARGIN, OPEN, Lease, LeaseState, Terms
from market.machines import DeadlinePassed, Effect, Event, QuietEvent, Rules, Step, Tell, take_step
from market.receipts import Receipt
from market.units import Amount
from market.workloads import Workload

S = LeaseState
_RANK = {state: rank for rank, state in enumerate(OPEN)}


# --- events --------------------------------------------------------------------------------------------------------


class CommitAcknowledged(Event, frozen=True, tag=True, kw_only=True):
    """The provider holds our commit."""


class CommitRefused(Event, frozen=True, tag=True, kw_only=True):
    """The provider no longer holds the offer: nothing runs there, nothing is owed."""

    reason: str


class PhaseReported(Event, frozen=True, tag=True, kw_only=True):
    """The provider moved on; `started_at` is 0 until it runs."""

    state: LeaseState
    started_at: int = 0


class RenewalSent(QuietEvent, frozen=True, tag=True, kw_only=True):
    """A renewal is about to be sent: the lease counts as extended from now on, whether or not it arrives."""

    until: int


class ProviderHeard(QuietEvent, frozen=True, tag=True, kw_only=True):
    """The provider answered."""


class UsageAcknowledged(Event, frozen=True, tag=True, kw_only=True):
    """A voucher was signed that covers `paid` base units for `seconds` of use."""

    seconds: int
    paid: Amount


class ReceiptReceived(Event, frozen=True, tag=True, kw_only=True):
    """The provider's signed receipt; checked against the terms before it comes here."""

    receipt: Receipt
    signature: bytes


class OutputsStored(Event, frozen=True, tag=True, kw_only=True):
    """All outputs of the receipt are here and have the digests that were promised."""


class OutputsLost(Event, frozen=True, tag=True, kw_only=True):
    """The outputs could not be fetched in time."""

    message: str


class PaymentConfirmed(Event, frozen=True, tag=True, kw_only=True):
    """The provider confirmed the last voucher, or gave up on it."""


# --- effects -------------------------------------------------------------------------------------------------------


class SendCommit(Effect, frozen=True, tag=True, kw_only=True):
    """Send the signed commit with the workload, until the provider answers or the lease runs out."""


class FundChannel(Effect, frozen=True, tag=True, kw_only=True):
    """Deposit what open leases with this provider may cost beyond what the channel holds."""


class SendCancel(Effect, frozen=True, tag=True, kw_only=True):
    """Ask the provider to end it now."""


class FetchOutputs(Effect, frozen=True, tag=True, kw_only=True):
    """Fetch the output files, in chunks that survive a restart."""


class SendPayment(Effect, frozen=True, tag=True, kw_only=True):
    """Sign what is due and hand the voucher over, until the provider confirms."""


# --- rules ---------------------------------------------------------------------------------------------------------


def take_lease(terms: Terms, job: str, channel: str, workload: Workload, nonce: str, now: int) -> tuple[Lease, Effect]:
    """A new lease in OFFERED and the effect that commits it; `until` is when an unanswered commit is given up."""
    lease = Lease(
        id=terms.lease,
        side="requester",
        job=job,
        terms=terms,
        channel=channel,
        workload=workload,
        nonce=nonce,
        until=now + LEASE_TERM,
        deadline=now + LEASE_TERM + MARGIN,
        created_at=now,
        acknowledged_at=now,
    )
    return lease, SendCommit(subject=lease.id)


def step(lease: Lease, event: Event, now: int) -> Step[Lease]:
    """The requester's lease after `event`; see RULES."""
    return take_step(RULES, lease, lease.state, event, now)


def _accept(lease: Lease, event: CommitAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, state=S.ACCEPTED, acknowledged_at=now), [FundChannel(subject=lease.id)]


def _commit_again(lease: Lease, event: CommitAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, acknowledged_at=now), []


def _refuse(lease: Lease, event: CommitRefused, now: int) -> Step[Lease]:
    after = replace(
        lease,
        state=S.SETTLED,
        outcome=S.LOST.value,
        code="COMMIT_REFUSED",
        message=event.reason,
        ended_at=now,
        deadline=0,
    )
    return after, [
        _tell(lease, LeaseLost(lease=lease.id, code="COMMIT_REFUSED", message=event.reason, paid=lease.paid))
    ]


def _advance(lease: Lease, event: PhaseReported, now: int) -> Step[Lease]:
    if event.state not in _RANK or _RANK[event.state] <= _RANK[lease.state]:
        return replace(lease, acknowledged_at=now), []
    after = replace(lease, state=event.state, started_at=event.started_at, acknowledged_at=now)
    is_running = event.state is S.RUNNING
    return after, [_tell(lease, WorkloadBegan(lease=lease.id, at=event.started_at))] if is_running else []


def _extend(lease: Lease, event: RenewalSent, now: int) -> Step[Lease]:
    until = max(lease.until, event.until)
    return replace(lease, until=until, deadline=until + MARGIN), []


def _hear(lease: Lease, event: ProviderHeard, now: int) -> Step[Lease]:
    return replace(lease, acknowledged_at=now), []


def _acknowledge(lease: Lease, event: UsageAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, seconds=event.seconds, due=event.paid, paid=event.paid, paid_at=now, acknowledged_at=now), []


def _pay(lease: Lease, event: UsageAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, paid=event.paid, paid_at=now, acknowledged_at=now), []


def _take_result(lease: Lease, event: ReceiptReceived, now: int) -> Step[Lease]:
    after = _closed(lease, event, now)
    if after.state is S.FAILED:
        lost = LeaseLost(lease=lease.id, code=after.code, message=after.message, paid=after.due)
        told: list[Effect] = [_tell(lease, _done(after)) if after.code in USER_FAULTS else _tell(lease, lost)]
        return after, [*told, SendPayment(subject=lease.id)]
    if after.state is S.FINISHED and event.receipt.outputs:
        return after, [FetchOutputs(subject=lease.id)]
    return after, [_tell(lease, _done(after)), SendPayment(subject=lease.id)]


def _take_late_result(lease: Lease, event: ReceiptReceived, now: int) -> Step[Lease]:
    after = replace(_closed(lease, event, now), state=S.CANCELLED, outcome=S.CANCELLED.value)
    return after, [_tell(lease, _done(after)), SendPayment(subject=lease.id)]


def _finish(lease: Lease, event: OutputsStored, now: int) -> Step[Lease]:
    return lease, [_tell(lease, _done(lease)), SendPayment(subject=lease.id)]


def _finish_without(lease: Lease, event: OutputsLost, now: int) -> Step[Lease]:
    after = replace(
        lease, state=S.LOST, outcome=S.LOST.value, code="OUTPUTS_LOST", message=event.message, due=lease.paid
    )
    lost = LeaseLost(lease=lease.id, code="OUTPUTS_LOST", message=event.message, paid=lease.paid)
    return after, [_tell(lease, lost), SendPayment(subject=lease.id)]


def _cancel(lease: Lease, event: TenantCancelled, now: int) -> Step[Lease]:
    after = replace(
        lease,
        state=S.CANCELLED,
        outcome=S.CANCELLED.value,
        code="CANCELLED",
        deadline=lease.until + MARGIN,
        ended_at=now,
    )
    return after, [SendCancel(subject=lease.id)]


def _lose(lease: Lease, event: DeadlinePassed, now: int) -> Step[Lease]:
    message = "the provider was silent until the lease ran out"
    after = replace(
        lease,
        state=S.SETTLED,
        outcome=S.LOST.value,
        code="PROVIDER_LOST",
        message=message,
        due=lease.paid,
        ended_at=now,
        deadline=0,
    )
    return after, [_tell(lease, LeaseLost(lease=lease.id, code="PROVIDER_LOST", message=message, paid=lease.paid))]


def _settle(lease: Lease, event: Event, now: int) -> Step[Lease]:
    return replace(lease, state=S.SETTLED, deadline=0), []


def _closed(lease: Lease, event: ReceiptReceived, now: int) -> Lease:
    receipt = event.receipt
    state = _ENDS.get(receipt.code, S.FINISHED)
    return replace(
        lease,
        state=state,
        outcome=state.value,
        receipt=receipt,
        receipt_signature=event.signature,
        started_at=receipt.started_at,
        ended_at=receipt.ended_at,
        seconds=receipt.seconds,
        due=Amount(max(lease.paid, receipt.due)),
        code=receipt.code,
        message=receipt.message,
        deadline=0,
    )


def _done(lease: Lease) -> WorkloadDone:
    receipt = lease.receipt
    exit_code = receipt.exit_code if receipt else -1
    return WorkloadDone(
        lease=lease.id,
        exit_code=exit_code,
        code=lease.code,
        message=lease.message,
        started_at=lease.started_at,
        ended_at=lease.ended_at,
        seconds=lease.seconds,
        due=lease.due,
    )


def _tell(lease: Lease, event: Event) -> Tell:
    return Tell(subject=lease.job, noun="Job", event=event)


USER_FAULTS = frozenset({"IMAGE_NOT_FOUND", "INPUT_MISSING"})
"""Ends before the start that another provider would only repeat: the job fails, unpaid."""
_ENDS = {
    "INFRASTRUCTURE": S.FAILED,
    "IMAGE_NOT_FOUND": S.FAILED,
    "INPUT_MISSING": S.FAILED,
    "NOT_FUNDED": S.FAILED,
    "PULL_TIMEOUT": S.FAILED,
    "START_TIMEOUT": S.FAILED,
    "UNPAID": S.FAILED,
    "LEASE_EXPIRED": S.FAILED,
    "CANCELLED": S.CANCELLED,
}
_ACTIVE = tuple(state for state in OPEN if state is not S.OFFERED)

RULES: Rules[Lease] = {
    (S.OFFERED, CommitAcknowledged): _accept,
    (S.OFFERED, CommitRefused): _refuse,
    **{(state, CommitAcknowledged): _commit_again for state in _ACTIVE},
    **{(state, PhaseReported): _advance for state in _ACTIVE},
    **{(state, RenewalSent): _extend for state in OPEN},
    **{(state, ProviderHeard): _hear for state in OPEN},
    (S.RUNNING, UsageAcknowledged): _acknowledge,
    **{(state, UsageAcknowledged): _pay for state in ENDED},
    **{(state, ReceiptReceived): _take_result for state in OPEN},
    (S.CANCELLED, ReceiptReceived): _take_late_result,
    (S.FINISHED, OutputsStored): _finish,
    (S.FINISHED, OutputsLost): _finish_without,
    **{(state, TenantCancelled): _cancel for state in OPEN},
    **{(state, DeadlinePassed): _lose for state in OPEN},
    (S.CANCELLED, DeadlinePassed): _settle,
    **{(state, PaymentConfirmed): _settle for state in ENDED},
}
