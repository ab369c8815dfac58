"""The machine of a job: what each rule means, what is refused, and what holds over every history."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market import job_events
from market.errors import InvalidTransition
from market.job_events import (
    BidReceived,
    CancelAsked,
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
from market.jobs import (
    DONE,
    LIVE,
    MAX_ATTEMPTS,
    RULES,
    Job,
    JobState,
    most_left,
    order_id,
    order_of,
    post_job,
    progress_of,
    step,
)
from market.machines import DeadlinePassed, Event, Tell
from market.orders import Constraints
from market.service_events import PodMoved
from market.units import Amount, Rate, amount_due
from market.workloads import Volume, WorkloadKind
from tests.builders import DIGEST, NOW, PEER, PROVIDER, REQUESTER, a_job, a_workload, an_address
from tests.market.machine_walks import an_event, events_of, name_of, refused

S = JobState
LEASE = "lse_000001"
LATE = NOW + 60_000


def placed(**changes: object) -> Job:
    return a_job(**{"state": S.PLACED, "lease": LEASE, "provider": PROVIDER, "deadline": 0, **changes})


def running(**changes: object) -> Job:
    return placed(**{"state": S.RUNNING, "started_at": NOW, **changes})


def done(**changes: object) -> WorkloadDone:
    fields = {"exit_code": 0, "code": "", "message": "", "started_at": NOW, "ended_at": NOW + 5000, "seconds": 5}
    return WorkloadDone(**{"lease": LEASE, "due": Amount(50), **fields, **changes})


def lost(**changes: object) -> LeaseLost:
    return LeaseLost(**{"lease": LEASE, "code": "PROVIDER_LOST", "message": "silent", "paid": Amount(20), **changes})


def agreed(lease: str = LEASE) -> LeaseAgreed:
    return LeaseAgreed(lease=lease, provider=PROVIDER, rate=Rate(7))


@pytest.mark.parametrize(("state", "event"), refused(RULES, JobState, events_of(job_events)), ids=name_of)
def test_a_pair_that_is_not_in_the_table_is_refused(state: JobState, event: type[Event]) -> None:
    with pytest.raises(InvalidTransition):
        step(a_job(state=state), an_event(event), LATE)


@pytest.mark.parametrize(("state", "event"), RULES, ids=name_of)
def test_a_pair_in_the_table_makes_the_next_version(state: JobState, event: type[Event]) -> None:
    after, _ = step(a_job(state=state, version=6), an_event(event), LATE)
    assert (after.id, after.version) == ("job_000001", 7)


# --- waiting for a provider ---


def test_a_posted_job_waits_until_its_order_expires() -> None:
    job, effect = post_job(a_job(deadline=0, patience=0))
    assert (job.deadline, job.patience) == (NOW + 60_000, 60_000)
    assert effect == PlaceJob(subject=job.id, attempt=1)


def test_every_attempt_has_an_order_of_its_own() -> None:
    assert [order_id(a_job(attempt=attempt)) for attempt in (1, 2)] == ["ord_0000011", "ord_0000012"]


def test_the_order_pays_what_the_cap_leaves_over_the_whole_time_limit() -> None:
    order = order_of(a_job(cap=Amount(1000), spent=Amount(400)), REQUESTER, PEER, DIGEST, NOW)
    assert order.max_rate == 600 * 10**9 // 60
    assert (order.duration, order.spec_digest, order.expires_at) == (60, DIGEST, NOW + 60_000)


def test_an_order_that_rests_keeps_the_reasons_of_the_offers() -> None:
    why = (Reason(provider=PROVIDER, codes=("price",), rate=Rate(9)),)
    job, effects = step(a_job(), OrderRested(reasons=why), NOW)
    assert (job.state, job.reasons, effects) == (S.RESTING, why, [])


def test_a_bid_is_shown_and_a_second_one_of_the_same_provider_replaces_it() -> None:
    job = a_job(state=S.RESTING)
    for provider, rate in ((PROVIDER, 3), (an_address(9), 2), (PROVIDER, 1)):
        job, effects = step(job, BidReceived(provider=provider, rate=Rate(rate), start_within=1), NOW)
        assert effects == []
    assert [(bid.provider, bid.rate) for bid in job.bids] == [(an_address(9), 2), (PROVIDER, 1)]


def test_an_agreed_lease_belongs_to_the_job_and_ends_its_waiting() -> None:
    job, effects = step(a_job(), agreed(), NOW + 5)
    assert (job.state, job.lease, job.provider, job.rate) == (S.PLACED, LEASE, PROVIDER, 7)
    assert (job.agreed_at, job.deadline, effects) == (NOW + 5, 0, [])


def test_a_resting_order_is_withdrawn_when_a_lease_is_agreed() -> None:
    job, effects = step(a_job(state=S.RESTING, attempt=2), agreed(), NOW)
    assert effects == [WithdrawOrder(subject=job.id, attempt=2)]


def test_an_order_that_nobody_takes_in_time_fails_the_job() -> None:
    job, effects = step(a_job(), DeadlinePassed(), LATE)
    assert (job.state, job.code, job.finished_at, effects) == (S.FAILED, "NO_OFFER", LATE, [])


def test_an_expired_order_that_rested_is_withdrawn() -> None:
    _, effects = step(a_job(state=S.RESTING), DeadlinePassed(), LATE)
    assert effects == [WithdrawOrder(subject="job_000001", attempt=1)]


def test_a_job_does_not_expire_before_its_time() -> None:
    with pytest.raises(InvalidTransition):
        step(a_job(), DeadlinePassed(), LATE - 1)


# --- at a provider ---


def test_a_workload_that_began_makes_the_job_run() -> None:
    job, _ = step(placed(), WorkloadBegan(lease=LEASE, at=NOW + 9), NOW + 10)
    assert (job.state, job.started_at) == (S.RUNNING, NOW + 9)


@pytest.mark.parametrize(
    "event", [WorkloadBegan(lease="lse_other", at=1), done(lease="lse_other"), lost(lease="lse_other")], ids=repr
)
def test_what_another_lease_says_changes_nothing(event: Event) -> None:
    job, effects = step(placed(), event, NOW)
    assert (replace(job, version=0), effects) == (placed(), [])


def test_exit_code_zero_is_success() -> None:
    job, effects = step(running(), done(), NOW)
    assert (job.state, job.exit_code, job.code, job.finished_at) == (S.SUCCEEDED, 0, "", NOW + 5000)
    assert (job.cost, job.seconds, effects) == (50, 5, [])


@pytest.mark.parametrize(
    ("event", "code"),
    [(done(exit_code=3), "EXIT_CODE"), (done(code="TIMEOUT"), "TIMEOUT"), (done(exit_code=9, code="OOM"), "OOM")],
)
def test_any_other_end_is_a_failure_with_a_code(event: WorkloadDone, code: str) -> None:
    job, _ = step(running(), event, NOW)
    assert (job.state, job.code) == (S.FAILED, code)


def test_a_job_can_end_before_its_start_was_heard_of() -> None:
    assert step(placed(), done(), NOW)[0].state is S.SUCCEEDED


# --- another attempt ---


def test_a_lost_lease_leads_to_another_attempt_elsewhere() -> None:
    job, effects = step(running(), lost(), NOW)
    assert (job.state, job.attempt, job.lease, job.provider, job.started_at) == (S.PENDING, 2, "", "", 0)
    assert job.constraints.avoid == (PROVIDER,)
    assert effects == [PlaceJob(subject=job.id, attempt=2)]


def test_a_provider_that_alone_may_have_the_job_is_asked_again() -> None:
    job, _ = step(running(constraints=Constraints(only=(PROVIDER,))), lost(), NOW)
    assert (job.constraints.only, job.constraints.avoid) == ((PROVIDER,), ())


@pytest.mark.parametrize(("began", "only", "avoid"), [(NOW, (PROVIDER,), ()), (0, (), (PROVIDER,))])
def test_work_with_volumes_goes_back_to_where_it_ran(began: int, only: tuple[str, ...], avoid: tuple[str, ...]) -> None:
    workload = a_workload(kind=WorkloadKind.SERVICE, volumes=(Volume(name="data", path="/data", size=2**23),))
    job, _ = step(running(workload=workload, started_at=began), lost(), NOW)
    assert (job.constraints.only, job.constraints.avoid) == (only, avoid)


def test_a_job_of_a_service_tells_it_what_is_new_and_nothing_else() -> None:
    begun = WorkloadBegan(lease=LEASE, at=NOW)
    job, effects = step(placed(service="dep_1"), begun, NOW)
    moved = PodMoved(job=job.id, state="running", health="", provider=PROVIDER, lease=LEASE, code="", message="")
    assert effects == [Tell(subject="dep_1", noun="Service", event=moved)]
    assert step(job, TermExtended(lease=LEASE, cap=Amount(5000)), NOW)[1] == []
    _, effects = step(job, HealthReported(lease=LEASE, health="healthy"), NOW)
    assert effects == [Tell(subject="dep_1", noun="Service", event=replace(moved, health="healthy"))]


def test_what_was_acknowledged_of_a_lost_lease_is_spent() -> None:
    job, _ = step(running(spent=Amount(5)), lost(), NOW)
    assert (job.spent, job.cost) == (25, 25)


def test_the_last_attempt_fails_the_job_with_the_code_of_its_loss() -> None:
    job, effects = step(running(attempt=MAX_ATTEMPTS), lost(), NOW)
    assert (job.state, job.attempt, job.code, job.provider) == (S.FAILED, MAX_ATTEMPTS, "PROVIDER_LOST", PROVIDER)
    assert (job.finished_at, job.deadline, effects) == (NOW, 0, [])


def test_every_attempt_waits_as_long_as_the_first() -> None:
    job = a_job()
    for now in (NOW + 10**8, NOW + 2 * 10**8):
        job, _ = step(replace(job, state=S.RUNNING, lease=LEASE), lost(), now)
        assert job.expires_at == job.deadline == now + 60_000


def test_an_early_loss_does_not_shorten_the_waiting() -> None:
    assert step(running(), lost(), NOW - 1)[0].deadline == NOW + 60_000


# --- longer terms ---


def test_a_longer_term_is_pledged_until_it_is_agreed_to_or_refused() -> None:
    wanted, _ = step(running(spent=Amount(5)), TermWanted(lease=LEASE, cap=Amount(1200)), NOW)
    assert (wanted.pledged, wanted.cap, most_left(wanted)) == (1205, 1000, 1200)
    refused, _ = step(wanted, TermRefused(lease=LEASE), NOW)
    assert (refused.pledged, most_left(refused)) == (0, 995)
    agreed_to, _ = step(wanted, TermExtended(lease=LEASE, cap=Amount(1200)), NOW)
    assert (agreed_to.pledged, agreed_to.cap) == (0, 1205)
    for event in (lost(), CancelAsked()):
        assert step(wanted, event, NOW)[0].pledged == 0
    for other in (TermWanted(lease="lse_other", cap=Amount(1)), TermRefused(lease="lse_other")):
        assert step(wanted, other, NOW)[0].pledged == 1205


# --- cancelled ---


@pytest.mark.parametrize("state", [S.PENDING, S.RESTING])
def test_a_waiting_job_is_cancelled_at_once(state: JobState) -> None:
    job, effects = step(a_job(state=state), CancelAsked(), NOW)
    assert (job.state, job.code, job.cost, job.deadline) == (S.CANCELLED, "CANCELLED", 0, 0)
    assert not job.is_owing
    assert effects == ([WithdrawOrder(subject=job.id, attempt=1)] if state is S.RESTING else [])


@pytest.mark.parametrize("before", [placed(), running()], ids=["placed", "running"])
def test_a_job_at_a_provider_is_cancelled_there_too(before: Job) -> None:
    job, effects = step(before, CancelAsked(), NOW)
    assert (job.state, job.is_owing) == (S.CANCELLED, True)
    assert effects == [Tell(subject=LEASE, noun="Lease", event=TenantCancelled())]


def test_a_cancelled_job_owes_what_the_receipt_says() -> None:
    job, _ = step(running(state=S.CANCELLED, spent=Amount(5), is_owing=True), done(), NOW)
    assert (job.state, job.cost, job.seconds, job.is_owing) == (S.CANCELLED, 55, 5, False)


def test_a_cancelled_job_without_a_receipt_owes_what_was_acknowledged() -> None:
    job, effects = step(running(state=S.CANCELLED, spent=Amount(5), is_owing=True), lost(), NOW)
    assert (job.state, job.cost, job.is_owing, effects) == (S.CANCELLED, 25, False, [])


@pytest.mark.parametrize("event", [done(lease="lse_other"), lost(lease="lse_other")], ids=["done", "lost"])
def test_a_cancelled_job_owes_nothing_for_a_lease_that_is_not_its_own(event: Event) -> None:
    job, _ = step(running(state=S.CANCELLED, is_owing=True), event, NOW)
    assert (job.cost, job.is_owing) == (0, True)


# --- progress ---


def test_progress_goes_by_phase_and_by_the_share_of_the_time_limit() -> None:
    assert [progress_of(a_job(state=state), NOW) for state in LIVE[:3]] == [0, 0, 10]
    assert [progress_of(running(), NOW + ms) for ms in (0, 30_000, 10**9)] == [20, 57, 95]
    assert [progress_of(a_job(state=state), NOW) for state in DONE] == [100, 100, 100]


def test_progress_never_steps_below_the_start() -> None:
    assert progress_of(running(started_at=NOW + 10**6), NOW) == 20


# --- every history ---


class History:
    """A job among providers that bill as their terms allow; remembers what was promised on the way."""

    def __init__(self, cap: int) -> None:
        self.job, _ = post_job(a_job(cap=Amount(cap)))
        self.now = NOW
        self.leases: dict[str, Amount] = {}
        self.live: set[str] = set()

    def candidates(self, share: int) -> dict[str, Event]:
        lease = self.job.lease or LEASE
        bill = Amount(self.leases.get(lease, 0) * share // 100)
        return {
            "rest": OrderRested(),
            "agree": agreed(f"lse_{len(self.leases)}"),
            "begin": WorkloadBegan(lease=lease, at=self.now),
            "done": done(lease=lease, due=bill),
            "fail": done(lease=lease, due=bill, exit_code=1),
            "lose": lost(lease=lease, paid=bill),
            "stale": lost(lease="lse_0", paid=Amount(10**6)) if lease != "lse_0" else OrderRested(),
            "cancel": CancelAsked(),
            "deadline": DeadlinePassed(),
        }

    def play(self, what: str, share: int, pause: int) -> None:
        before, self.now = self.job, self.now + pause
        event = self.candidates(share)[what]
        try:
            self.job, effects = step(before, event, self.now)
        except InvalidTransition:
            return
        if isinstance(event, LeaseAgreed):
            self._agree(event)
        self._check(before, event, effects)

    def _agree(self, event: LeaseAgreed) -> None:
        order = order_of(self.job, REQUESTER, PEER, DIGEST, self.now)
        self.leases[event.lease] = amount_due(Rate(order.max_rate), order.duration)
        assert self.job.lease == event.lease

    def _check(self, before: Job, event: Event, effects: list[Any]) -> None:
        job = self.job
        assert job.cost <= job.cap
        assert job.spent + self.leases.get(job.lease, 0) <= job.cap
        assert job.spent >= before.spent
        assert job.version == before.version + 1
        assert job.attempt <= MAX_ATTEMPTS
        assert before.state not in DONE or job.state is before.state
        assert (job.state in (S.PLACED, S.RUNNING)) <= bool(job.lease)
        assert (job.state in (S.PENDING, S.RESTING)) == bool(job.deadline)
        places = [effect for effect in effects if isinstance(effect, PlaceJob)]
        assert len(places) == (job.attempt > before.attempt)


moves = st.sampled_from(["rest", "agree", "begin", "done", "fail", "lose", "stale", "cancel", "deadline"])


@given(st.integers(0, 10**6), st.lists(st.tuples(moves, st.integers(0, 100), st.integers(0, 40_000)), max_size=40))
def test_no_history_costs_more_than_the_cap_or_leaves_its_end(cap: int, history: list[tuple[str, int, int]]) -> None:
    play = History(cap)
    for move in history:
        play.play(*move)


def test_a_user_may_name_providers_to_avoid() -> None:
    avoided = Constraints(avoid=(an_address(9),))
    assert order_of(a_job(constraints=avoided), REQUESTER, PEER, DIGEST, NOW).constraints == avoided
