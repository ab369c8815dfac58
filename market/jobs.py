"""A requester's job: from the user's order to its end, over as many attempts as it takes.

PENDING    stored and acknowledged; providers are being asked (take).
RESTING    no standing offer fits: the blinded order rests in the gossip book and collects bids (make).
PLACED     a provider holds the lease; image and inputs are on their way.
RUNNING    the container runs.
SUCCEEDED  exit code 0. FAILED any other end, with a code. CANCELLED on the user's wish.
A lost attempt leads back to PENDING at another provider, until the attempts are used up.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.builds import BuildOrder
from market.job_events import (
    BidReceived,
    CancelAsked,
    DeployBuild,
    HealthReported,
    LeaseAgreed,
    LeaseLost,
    OrderRested,
    PlaceJob,
    Reason,
    TenantCancelled,
    TermExtended,
    TermRefused,
    TermWanted,
    WithdrawOrder,
    WorkloadBegan,
    WorkloadDone,
)
from market.machines import DeadlinePassed, Effect, Event, Rules, Step, Tell, take_step
from market.orders import Constraints, Order
from market.probing import first_health
from market.service_events import PodMoved
from market.units import Amount, Rate, rate_under_cap
from market.workloads import Workload, needs_of

MAX_ATTEMPTS: Final = 5


class JobState(StrEnum):
    PENDING = "pending"
    RESTING = "resting"
    PLACED = "placed"
    RUNNING = "running"
    SUCCEEDED = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = JobState
LIVE: Final = (S.PENDING, S.RESTING, S.PLACED, S.RUNNING)
DONE: Final = (S.SUCCEEDED, S.FAILED, S.CANCELLED)


class BidSeen(Struct, frozen=True, kw_only=True):
    """A bid that came for the resting order; `at` in ms since the epoch."""

    provider: str
    rate: Rate
    start_within: int
    at: int


class Job(Struct, frozen=True, kw_only=True):
    """A priced job. `cap` in base units is the most it may ever cost; times in ms since the epoch, 0 = not yet."""

    id: str
    account: str
    workload: Workload
    nonce: str
    cap: Amount
    constraints: Constraints = Constraints()
    bid_window: int = 1000
    expires_at: int
    """Until when the present attempt may wait for a provider."""
    patience: int = 0
    """How long every attempt may wait for a provider, in ms."""
    created_at: int
    state: JobState = S.PENDING
    deadline: int = 0
    attempt: int = 1
    lease: str = ""
    provider: str = ""
    region: str = ""
    """Where the provider is, "" = not known."""
    rate: Rate = Rate(0)
    agreed_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int | None = None
    code: str = ""
    message: str = ""
    seconds: int = 0
    spent: Amount = Amount(0)
    """Owed for attempts before the present one."""
    cost: Amount = Amount(0)
    """Owed for all attempts that have ended."""
    reasons: tuple[Reason, ...] = ()
    bids: tuple[BidSeen, ...] = ()
    """The bids on the present attempt's order, one a provider, at most 256."""
    version: int = 0
    """Grows with every accepted event: the job's ETag."""
    term: int = 0
    """Seconds by which its lease is made longer whenever half of them are left; 0 = never."""
    service: str = ""
    """The service whose pod it is; it is told of every change."""
    health: str = ""
    build: BuildOrder | None = None
    """What it builds an image for, when it does."""
    pledged: Amount = Amount(0)
    """What it may cost at most with the longer term that its lease asks for; 0 = it asks for none."""
    is_owing: bool = False
    """It was cancelled under a lease that has not told yet what it costs: its cap stays set aside until then."""


def post_job(job: Job) -> tuple[Job, Effect]:
    """A new job as it is stored, and the effect that finds it a provider."""
    posted = replace(job, deadline=job.expires_at, patience=job.expires_at - job.created_at)
    return posted, PlaceJob(subject=job.id, attempt=job.attempt)


def order_id(job: Job) -> str:
    """The id of the order of the present attempt."""
    return f"ord_{job.id.removeprefix('job_')}{job.attempt}"


def order_of(job: Job, requester: str, peer: str, digest: str, now: int) -> Order:
    """The blinded order of the present attempt; its price is what the cap leaves over the whole time limit."""
    return Order(
        id=order_id(job),
        requester=requester,
        peer=peer,
        resources=job.workload.resources,
        constraints=replace(job.constraints, needs=needs_of(job.workload)),
        max_rate=rate_under_cap(Amount(job.cap - job.spent), job.workload.timeout),
        duration=job.workload.timeout,
        spec_digest=digest,
        bid_window=job.bid_window,
        issued_at=now,
        expires_at=job.expires_at,
    )


def step(job: Job, event: Event, now: int) -> Step[Job]:
    """The job after `event`; see RULES."""
    after, effects = take_step(RULES, job, job.state, event, now)
    if job.service and _seen(after) != _seen(job):
        effects = [*effects, Tell(subject=job.service, noun="Service", event=_moved(after))]
    return replace(after, version=job.version + 1), effects


def progress_of(job: Job, now: int, pulled: int = 0) -> int:
    """0..100 by phase: 0 waiting, 10 to 20 placed, by `pulled` percent of its image, to 95 by its time limit."""
    if job.state in DONE:
        return 100
    if job.state is S.RUNNING:
        return 20 + max(0, min(75, 75 * (now - job.started_at) // (job.workload.timeout * 1000)))
    return 10 + pulled // 10 if job.state is S.PLACED else 0


def most_left(job: Job) -> Amount:
    """What it may cost beyond the attempts that have ended, with the longer term that its lease asks for."""
    return Amount(max(job.cap, job.pledged) - job.spent)


def may_cost(job: Job) -> bool:
    """Whether it lives, or a lease of it has not told its last amount yet."""
    return job.state in LIVE or job.is_owing


def _seen(job: Job) -> tuple[object, ...]:
    return job.state, job.health, job.lease


def _moved(job: Job) -> PodMoved:
    return PodMoved(
        job=job.id,
        state=job.state,
        health=job.health,
        provider=job.provider,
        region=job.region,
        lease=job.lease,
        code=job.code,
        message=job.message,
    )


def _rest(job: Job, event: OrderRested, now: int) -> Step[Job]:
    return replace(job, state=S.RESTING, reasons=event.reasons), []


def _note_bid(job: Job, event: BidReceived, now: int) -> Step[Job]:
    bid = BidSeen(provider=event.provider, rate=event.rate, start_within=event.start_within, at=now)
    others = tuple(other for other in job.bids if other.provider != bid.provider)
    return replace(job, bids=(*others, bid)[-256:]), []


def _place(job: Job, event: LeaseAgreed, now: int) -> Step[Job]:
    after = replace(
        job,
        state=S.PLACED,
        lease=event.lease,
        provider=event.provider,
        region=event.region,
        rate=event.rate,
        agreed_at=now,
        deadline=0,
        reasons=(),
    )
    return after, [WithdrawOrder(subject=job.id, attempt=job.attempt)] if job.state is S.RESTING else []


def _begin(job: Job, event: WorkloadBegan, now: int) -> Step[Job]:
    if event.lease != job.lease:
        return job, []
    return replace(job, state=S.RUNNING, started_at=event.at, health=first_health(job.workload)), []


def _pledge(job: Job, event: TermWanted, now: int) -> Step[Job]:
    pledged = Amount(job.spent + event.cap)
    return (replace(job, pledged=pledged), []) if event.lease == job.lease else (job, [])


def _pledge_no_more(job: Job, event: TermRefused, now: int) -> Step[Job]:
    return (replace(job, pledged=Amount(0)), []) if event.lease == job.lease else (job, [])


def _extend(job: Job, event: TermExtended, now: int) -> Step[Job]:
    cap = Amount(max(job.cap, job.spent + event.cap))
    return (replace(job, cap=cap, pledged=Amount(0)), []) if event.lease == job.lease else (job, [])


def _note_health(job: Job, event: HealthReported, now: int) -> Step[Job]:
    return (replace(job, health=event.health), []) if event.lease == job.lease else (job, [])


def _finish(job: Job, event: WorkloadDone, now: int) -> Step[Job]:
    if event.lease != job.lease:
        return job, []
    is_success = event.exit_code == 0 and not event.code
    after = replace(
        _bill(job, event),
        state=S.SUCCEEDED if is_success else S.FAILED,
        exit_code=event.exit_code,
        code=event.code or ("" if is_success else "EXIT_CODE"),
        message=event.message or ("" if is_success else f"the program ended with exit code {event.exit_code}"),
        started_at=event.started_at,
        finished_at=event.ended_at,
    )
    is_built = is_success and job.build is not None
    return after, [DeployBuild(subject=job.id)] if is_built else []


def _bill(job: Job, event: WorkloadDone) -> Job:
    return replace(job, cost=Amount(job.spent + event.due), seconds=event.seconds)


def _bill_late(job: Job, event: WorkloadDone, now: int) -> Step[Job]:
    return (replace(_bill(job, event), is_owing=False), []) if event.lease == job.lease else (job, [])


def _bill_lost(job: Job, event: LeaseLost, now: int) -> Step[Job]:
    billed = replace(job, cost=Amount(job.spent + event.paid), is_owing=False)
    return (billed, []) if event.lease == job.lease else (job, [])


def _lose(job: Job, event: LeaseLost, now: int) -> Step[Job]:
    if event.lease != job.lease:
        return job, []
    spent = Amount(job.spent + event.paid)
    again = replace(
        job,
        state=S.PENDING,
        attempt=job.attempt + 1,
        lease="",
        provider="",
        region="",
        rate=Rate(0),
        started_at=0,
        health="",
        spent=spent,
        cost=spent,
        pledged=Amount(0),
        bids=(),
        constraints=_next_constraints(job),
        expires_at=max(job.expires_at, now + job.patience),
        code=event.code,
        message=event.message,
    )
    if job.attempt >= MAX_ATTEMPTS:
        place = {"provider": job.provider, "region": job.region}
        return replace(again, state=S.FAILED, attempt=job.attempt, finished_at=now, **place), []
    return replace(again, deadline=again.expires_at), [PlaceJob(subject=job.id, attempt=again.attempt)]


def _next_constraints(job: Job) -> Constraints:
    """Not who lost this attempt, unless nobody else may have the next, or it ran there and its volumes are there."""
    if job.workload.volumes and job.started_at:
        return replace(job.constraints, only=(job.provider,), avoid=())
    avoided = () if job.provider in job.constraints.only else (job.provider,)
    return replace(job.constraints, avoid=avoided)


def _expire(job: Job, event: DeadlinePassed, now: int) -> Step[Job]:
    code = "PRICE_BELOW_OFFERS" if any("price" in reason.codes for reason in job.reasons) else "NO_OFFER"
    message = f"no provider took the order in time; {len(job.reasons)} offers were refused"
    after = replace(job, state=S.FAILED, code=code, message=message, finished_at=now, deadline=0)
    return after, [WithdrawOrder(subject=job.id, attempt=job.attempt)] if job.state is S.RESTING else []


def _cancel(job: Job, event: CancelAsked, now: int) -> Step[Job]:
    after = replace(
        job, state=S.CANCELLED, code="CANCELLED", message="cancelled by its owner", finished_at=now, deadline=0
    )
    return after, [WithdrawOrder(subject=job.id, attempt=job.attempt)] if job.state is S.RESTING else []


def _cancel_leased(job: Job, event: CancelAsked, now: int) -> Step[Job]:
    after, _ = _cancel(job, event, now)
    told = Tell(subject=job.lease, noun="Lease", event=TenantCancelled())
    return replace(after, is_owing=True, pledged=Amount(0)), [told]


RULES: Rules[Job] = {
    (S.PENDING, OrderRested): _rest,
    (S.RESTING, OrderRested): _rest,
    (S.RESTING, BidReceived): _note_bid,
    **{(state, LeaseAgreed): _place for state in (S.PENDING, S.RESTING)},
    (S.PLACED, WorkloadBegan): _begin,
    (S.RUNNING, TermWanted): _pledge,
    (S.RUNNING, TermRefused): _pledge_no_more,
    (S.RUNNING, TermExtended): _extend,
    (S.RUNNING, HealthReported): _note_health,
    **{(state, WorkloadDone): _finish for state in (S.PLACED, S.RUNNING)},
    **{(state, LeaseLost): _lose for state in (S.PLACED, S.RUNNING)},
    **{(state, DeadlinePassed): _expire for state in (S.PENDING, S.RESTING)},
    **{(state, CancelAsked): _cancel for state in (S.PENDING, S.RESTING)},
    **{(state, CancelAsked): _cancel_leased for state in (S.PLACED, S.RUNNING)},
    (S.CANCELLED, WorkloadDone): _bill_late,
    (S.CANCELLED, LeaseLost): _bill_lost,
}
