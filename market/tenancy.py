"""The requester's side of a lease: commit, fund, renew, acknowledge usage, take the result, pay, or declare it lost.

OFFERED   a provider accepted the proposal; the lease is stored, the commit is on its way.
ACCEPTED  the provider holds the commit; the channel is being funded.
PULLING, STARTING, RUNNING  as the provider reports.
FINISHED, FAILED, CANCELLED  the provider's receipt is here; outputs are fetched and the last voucher is sent.
LOST      the provider is silent and the last renewal has run out; only what was acknowledged is paid.
SETTLED   the provider confirmed the last voucher, or there is nothing to pay.
"""

from msgspec.structs import replace

from market.billing import PROVIDER_FAULTS, USER_FAULTS
from market.job_events import (
    HealthReported,
    LeaseLost,
    TenantCancelled,
    TermExtended,
    TermRefused,
    TermWanted,
    WorkloadBegan,
    WorkloadDone,
)
from market.leases import (
    ENDED,
    HEARD_EVERY,
    LEASE_TERM,
    MARGIN,
    OPEN,
    SETTLE_WITHIN,
    Lease,
    LeaseState,
    Terms,
    earliest_start,
    owed_for,
)
from market.machines import DeadlinePassed, Effect, Event, Rules, Step, Tell, take_step
from market.probing import first_health
from market.tenancy_events import (
    CommitAcknowledged,
    CommitRefused,
    ExtensionAgreed,
    ExtensionRefused,
    ExtensionWanted,
    FetchOutputs,
    FundChannel,
    HealthSeen,
    OutputsLost,
    OutputsStored,
    PaymentConfirmed,
    PhaseReported,
    PortsSeen,
    ProviderHeard,
    ReceiptReceived,
    RenewalSent,
    RunSucceeded,
    SendCancel,
    SendCommit,
    SendExtension,
    SendPayment,
    UsageAcknowledged,
)
from market.units import Amount
from market.workloads import DirectPort, Workload, direct_ports

S = LeaseState
HEALTHS = ("starting", "healthy", "unhealthy")
_RANK = {state: rank for rank, state in enumerate(OPEN)}


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


def heard(
    lease: Lease,
    state: LeaseState,
    started_at: int,
    health: str = "",
    direct: tuple[DirectPort, ...] = (),
    pulled: int = 0,
) -> Event:
    """What a provider's word about the phase says: that the lease moved on, or only that the provider is there."""
    is_news = _RANK.get(state, -1) > _RANK.get(lease.state, -1)
    if is_news:
        return PhaseReported(state=state, started_at=started_at)
    is_running = state is S.RUNNING and lease.state is S.RUNNING
    if is_running and health in HEALTHS and health != lease.health:
        return HealthSeen(health=health)
    if is_running and (wanted := _direct_ports(lease.workload, direct)) != lease.direct:
        return PortsSeen(direct=wanted)
    is_pulling = state is S.PULLING and lease.state is S.PULLING
    is_waiting = state in _ACTIVE and state is not S.RUNNING
    return ProviderHeard(is_waiting=is_waiting, pulled=pulled if is_pulling else 0)


def _direct_ports(workload: Workload | None, told: tuple[DirectPort, ...]) -> tuple[DirectPort, ...]:
    """What the provider told of the ports that were to be direct, each once."""
    places = {place.port: place for place in told}
    return tuple(places[port] for port in direct_ports(workload) if port in places)


def is_worth_noting(lease: Lease, event: Event, now: int) -> bool:
    """Whether the event says more than that the provider is there still: that is noted once a second."""
    return not isinstance(event, ProviderHeard) or now - lease.acknowledged_at >= HEARD_EVERY


def step(lease: Lease, event: Event, now: int) -> Step[Lease]:
    """The requester's lease after `event`; see RULES."""
    return take_step(RULES, lease, lease.state, event, now)


def _accept(lease: Lease, event: CommitAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, state=S.ACCEPTED, acknowledged_at=now), [FundChannel(subject=lease.id)]


def _commit_again(lease: Lease, event: CommitAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, acknowledged_at=now), []


def _refuse(lease: Lease, event: CommitRefused, now: int) -> Step[Lease]:
    return _settle_lost(lease, "COMMIT_REFUSED", event.reason, now)


def _advance(lease: Lease, event: PhaseReported, now: int) -> Step[Lease]:
    if event.state not in _RANK or _RANK[event.state] <= _RANK[lease.state]:
        return replace(lease, acknowledged_at=now), []
    if event.state is not S.RUNNING:
        return replace(lease, state=event.state, acknowledged_at=now, waiting_at=now), []
    began = _bounded(lease, event.started_at or now, now)
    health = first_health(lease.workload)
    after = replace(lease, state=S.RUNNING, started_at=began, acknowledged_at=now, health=health)
    return after, [_tell(lease, WorkloadBegan(lease=lease.id, at=after.started_at))]


def _note_health(lease: Lease, event: HealthSeen, now: int) -> Step[Lease]:
    after = replace(lease, health=event.health, acknowledged_at=now)
    return after, [_tell(lease, HealthReported(lease=lease.id, health=event.health))]


def _note_ports(lease: Lease, event: PortsSeen, now: int) -> Step[Lease]:
    return replace(lease, direct=event.direct, acknowledged_at=now), []


def _count(lease: Lease, event: RunSucceeded, now: int) -> Step[Lease]:
    return replace(lease, runs=lease.runs + 1), []


def _ask_for_more(lease: Lease, event: ExtensionWanted, now: int) -> Step[Lease]:
    wanted = _tell(lease, TermWanted(lease=lease.id, cap=Amount(event.terms.cap)))
    return replace(lease, extension=event.terms), [wanted, SendExtension(subject=lease.id)]


def _go_on(lease: Lease, event: ExtensionAgreed, now: int) -> Step[Lease]:
    terms = lease.extension or lease.terms
    told = TermExtended(lease=lease.id, cap=Amount(terms.cap))
    return replace(lease, terms=terms, extension=None, acknowledged_at=now), [_tell(lease, told)]


def _go_no_longer(lease: Lease, event: ExtensionRefused, now: int) -> Step[Lease]:
    refused = _tell(lease, TermRefused(lease=lease.id))
    return replace(lease, extension=None, message=event.reason[:1024]), [refused]


def _extend(lease: Lease, event: RenewalSent, now: int) -> Step[Lease]:
    until = max(lease.until, event.until)
    return replace(lease, until=until, deadline=until + MARGIN), []


def _hear(lease: Lease, event: ProviderHeard, now: int) -> Step[Lease]:
    waiting_at = now if event.is_waiting and lease.state is not S.RUNNING else lease.waiting_at
    pulled = max(lease.pulled, event.pulled)
    return replace(lease, acknowledged_at=now, waiting_at=waiting_at, pulled=pulled), []


def _acknowledge(lease: Lease, event: UsageAcknowledged, now: int) -> Step[Lease]:
    after, _ = _pay(lease, event, now)
    return replace(after, seconds=max(lease.seconds, event.seconds), due=after.paid), []


def _pay(lease: Lease, event: UsageAcknowledged, now: int) -> Step[Lease]:
    return replace(lease, paid=Amount(max(lease.paid, event.paid)), paid_at=now, acknowledged_at=now), []


def _take_result(lease: Lease, event: ReceiptReceived, now: int) -> Step[Lease]:
    after = _closed(lease, event, now)
    if after.state is S.FINISHED and event.receipt.outputs:
        return after, [FetchOutputs(subject=lease.id)]
    is_lost = after.state is S.FAILED and after.code not in USER_FAULTS
    return _pay_up(after, _lost(after) if is_lost else _done(after), now)


def _take_late_result(lease: Lease, event: ReceiptReceived, now: int) -> Step[Lease]:
    if lease.receipt is not None:
        return lease, []
    after = replace(_closed(lease, event, now), state=S.CANCELLED, outcome=S.CANCELLED.value)
    return _pay_up(after, _done(after), now)


def _finish(lease: Lease, event: OutputsStored, now: int) -> Step[Lease]:
    return _pay_up(lease, _done(lease), now)


def _finish_without(lease: Lease, event: OutputsLost, now: int) -> Step[Lease]:
    after = replace(
        lease, state=S.LOST, outcome=S.LOST.value, code="OUTPUTS_LOST", message=event.message, due=lease.paid
    )
    return _pay_up(after, _lost(after), now)


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
    return _settle_lost(lease, "PROVIDER_LOST", "the provider was silent until the lease ran out", now)


def _settle_lost(lease: Lease, code: str, message: str, now: int) -> Step[Lease]:
    after = replace(
        lease,
        state=S.SETTLED,
        outcome=S.LOST.value,
        code=code,
        message=message,
        due=lease.paid,
        ended_at=now,
        deadline=0,
    )
    return after, [_tell(lease, _lost(after))]


def _settle_cancelled(lease: Lease, event: DeadlinePassed, now: int) -> Step[Lease]:
    after, _ = _settle(replace(lease, due=lease.paid) if lease.receipt is None else lease, event, now)
    return after, [_tell(lease, _lost(after))] if lease.receipt is None else []


def _settle(lease: Lease, event: Event, now: int) -> Step[Lease]:
    return replace(lease, state=S.SETTLED, deadline=0), []


def _closed(lease: Lease, event: ReceiptReceived, now: int) -> Lease:
    receipt = event.receipt
    state = S.FAILED if receipt.code in PROVIDER_FAULTS else S.FINISHED
    return replace(
        lease,
        state=state,
        outcome=state.value,
        receipt=receipt,
        receipt_signature=event.signature,
        acknowledged_at=now,
        started_at=_bounded(lease, lease.started_at or receipt.started_at, now),
        ended_at=_bounded(lease, receipt.ended_at, now),
        seconds=receipt.seconds,
        due=Amount(max(lease.paid, receipt.due, _owed_by_own_count(lease))),
        code=receipt.code,
        message=receipt.message,
        deadline=0,
    )


def _owed_by_own_count(lease: Lease) -> Amount:
    """For runs of code our own count is the measure; the provider may not have heard of the last ones."""
    return owed_for(lease.terms, 0, lease.runs) if lease.terms.unit == "run" else Amount(0)


def _bounded(lease: Lease, at: int, now: int) -> int:
    """The provider's word about a moment, within what our own clock allows; 0 stays 0 where nothing began."""
    return min(max(at, earliest_start(lease)), now) if at else 0


def _pay_up(lease: Lease, told: Event, now: int) -> Step[Lease]:
    """Tell the job and hand over the last voucher; a provider that does not take it in time is not waited for."""
    return replace(lease, deadline=now + SETTLE_WITHIN), [_tell(lease, told), SendPayment(subject=lease.id)]


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(lease=lease.id, code=lease.code, message=lease.message, paid=lease.due)


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


_ACTIVE = tuple(state for state in OPEN if state is not S.OFFERED)

RULES: Rules[Lease] = {
    (S.OFFERED, CommitAcknowledged): _accept,
    (S.OFFERED, CommitRefused): _refuse,
    **{(state, CommitAcknowledged): _commit_again for state in _ACTIVE},
    **{(state, PhaseReported): _advance for state in _ACTIVE},
    **{(state, RenewalSent): _extend for state in OPEN},
    **{(state, ProviderHeard): _hear for state in OPEN},
    (S.RUNNING, UsageAcknowledged): _acknowledge,
    (S.RUNNING, HealthSeen): _note_health,
    (S.RUNNING, PortsSeen): _note_ports,
    (S.RUNNING, RunSucceeded): _count,
    (S.RUNNING, ExtensionWanted): _ask_for_more,
    (S.RUNNING, ExtensionAgreed): _go_on,
    (S.RUNNING, ExtensionRefused): _go_no_longer,
    **{(state, UsageAcknowledged): _pay for state in ENDED},
    **{(state, ReceiptReceived): _take_result for state in OPEN},
    (S.CANCELLED, ReceiptReceived): _take_late_result,
    (S.FINISHED, OutputsStored): _finish,
    (S.FINISHED, OutputsLost): _finish_without,
    **{(state, TenantCancelled): _cancel for state in OPEN},
    **{(state, DeadlinePassed): _lose for state in OPEN},
    (S.CANCELLED, DeadlinePassed): _settle_cancelled,
    **{(state, DeadlinePassed): _settle for state in (S.FINISHED, S.FAILED, S.LOST)},
    **{(state, PaymentConfirmed): _settle for state in ENDED},
}
