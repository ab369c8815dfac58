"""What users' things may still cost is set aside, whatever happens, in whatever order; and it comes back in the end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.billing import PROVIDER_FAULTS
from market.errors import InsufficientFunds, InvalidTransition, NotFound
from market.job_events import CancelAsked
from market.jobs import DONE, LIVE, Job
from market.leases import OPEN, Lease, LeaseState, cost_so_far, extended
from market.ledger import Transfer, between, hold_account, user_account
from market.machines import DeadlinePassed
from market.service_events import (
    DeleteAsked,
    PodDeleteAsked,
    PodStartAsked,
    PodStopAsked,
    RestartAsked,
    ScaleAsked,
    StartAsked,
    StopAsked,
    UpdateAsked,
)
from market.services import Service, ServiceState
from market.tenancy_events import (
    CommitRefused,
    ExtensionAgreed,
    ExtensionRefused,
    ExtensionWanted,
    HealthSeen,
    OutputsLost,
    OutputsStored,
    PaymentConfirmed,
    UsageAcknowledged,
)
from market.units import Amount
from node.actions.ledger import held_by, post
from node.loops.extending import NO_TERM, extend_services
from node.records import Balance
from tests.builders import NOW, a_file
from tests.node.actions.books import ANN, Books

S = LeaseState
CODES = ("", "", "TERM_ENDED", "UNPAID", "INFRASTRUCTURE", "IMAGE_NOT_FOUND")
EXTENSIONS = ("ask", "go on", "go no longer")
WISHES = ("stop", "start", "delete", "renew", "scale", "cap", "image", "stop pod", "start pod", "delete pod")
DEEDS = ("agree", "begin", "pay", "finish", "outputs", "lost outputs", "refuse", "settle", *EXTENSIONS)


class Chances(Books):
    """Books of what happens by chance."""

    def do_one(self, what: str, number: int) -> None:
        with suppress(InsufficientFunds, NotFound, InvalidTransition):
            if what == "post":
                self.post_job(f"job_{self.storage.count(Job)}", 100 * (number % 9 + 1))
            elif what == "serve":
                self.serve(f"dep_{self.storage.count(Service)}", 100 * (number % 5 + 1), number % 3 + 1)
            elif what == "cancel":
                self._with(Job, number, lambda job: self.tell("Job", job.id, CancelAsked()), service="")
            elif what in WISHES:
                self._with(Service, number, lambda service: self._wish(service, what, number))
            else:
                self._deed(what, number)

    def _wish(self, service: Service, what: str, number: int) -> None:
        image = f"image{number}" if what == "image" else service.workload.image
        cap = Amount(1 + 97 * number % 400) if what == "cap" else service.cap
        workload = replace(service.workload, image=image)
        pod = service.pods[number % len(service.pods)].id if service.pods else ""
        events: dict[str, Any] = {
            "stop": StopAsked(),
            "start": StartAsked(),
            "delete": DeleteAsked(),
            "renew": RestartAsked(),
            "scale": ScaleAsked(replicas=number % 4 + 1),
            "stop pod": PodStopAsked(pod=pod),
            "start pod": PodStartAsked(pod=pod),
            "delete pod": PodDeleteAsked(pod=pod),
        }
        update = UpdateAsked(workload=workload, name=service.name, cap=cap, origin="")
        self.tell("Service", service.id, events.get(what, update))

    def _deed(self, what: str, number: int) -> None:
        leases: dict[str, tuple[tuple[LeaseState, ...], Callable[[Lease], Any]]] = {
            "begin": ((S.OFFERED,), lambda lease: self.begin(lease.id)),
            "refuse": ((S.OFFERED,), lambda lease: self.tell("Lease", lease.id, CommitRefused(reason="no"))),
            "pay": ((S.RUNNING,), lambda lease: self._pay(lease, number)),
            "finish": ((*OPEN, S.CANCELLED), lambda lease: self._end(lease, number)),
            "outputs": ((S.FINISHED,), lambda lease: self.tell("Lease", lease.id, OutputsStored())),
            "lost outputs": ((S.FINISHED,), lambda lease: self.tell("Lease", lease.id, OutputsLost(message="gone"))),
            "ask": ((S.RUNNING,), self._ask),
            "go on": ((S.RUNNING,), lambda lease: self.tell("Lease", lease.id, ExtensionAgreed())),
            "go no longer": ((S.RUNNING,), lambda lease: self.tell("Lease", lease.id, ExtensionRefused(reason="no"))),
            "settle": ((S.FINISHED, S.FAILED, S.CANCELLED, S.LOST), self._settle),
        }
        if what == "agree":
            self._with(
                Job, number, lambda job: self.agree(job.id, f"lse_{self.storage.count(Lease):06}"), state="pending"
            )
        elif what == "time":
            self.pass_time()
        elif what == "pods":
            self.perform_pods()
        elif what == "withdraw":
            self.withdraw()
        elif what == "deposit":
            self.give(1000)
        else:
            states, deed = leases[what]
            self._with(Lease, number, deed, state=states)

    def _pay(self, lease: Lease, number: int) -> None:
        paid = min(lease.terms.cap, lease.paid + 37 * number % 300)
        self.tell("Lease", lease.id, UsageAcknowledged(seconds=number, paid=Amount(paid)))

    def _ask(self, lease: Lease) -> None:
        """As the loop does, for pods alone."""
        job = self.storage.get(Job, lease.job)
        if job is not None and job.service and lease.extension is None:
            self.tell("Lease", lease.id, ExtensionWanted(terms=extended(lease.terms, 20)))

    def _end(self, lease: Lease, number: int) -> None:
        """As much as `market.billing` would let a receipt ask for, at most."""
        code = CODES[number % len(CODES)]
        is_fault = code in PROVIDER_FAULTS and code != "UNPAID" and lease.state is not S.CANCELLED
        due = lease.paid if is_fault else max(lease.paid, lease.terms.cap * (number % 3) // 2)
        self.finish(lease.id, code=code, due=due, outputs=(a_file(),) * (number % 2))

    def _settle(self, lease: Lease) -> None:
        """The last voucher, and the word that it came; a lease that has not told what it costs is paid nothing."""
        if lease.deadline and (lease.state is not S.CANCELLED or lease.receipt):
            self.tell("Lease", lease.id, UsageAcknowledged(seconds=lease.seconds, paid=lease.due))
            self.tell("Lease", lease.id, PaymentConfirmed())

    def pass_time(self) -> None:
        """To the next deadline, and everything that is due is told so."""
        nouns = [noun for kind in (Job, Service, Lease) for noun in self.storage.find(kind)]
        deadlines = [noun.deadline for noun in nouns if noun.deadline]
        if deadlines:
            self.pass_to(min(deadlines))
        for noun in nouns:
            with suppress(InvalidTransition):
                self.tell(type(noun).__name__, noun.id, DeadlinePassed())

    def _with(self, kind: type[Any], number: int, deed: Callable[[Any], Any], **where: object) -> None:
        found = self.storage.find(kind, **where)
        if found:
            deed(found[number % len(found)])

    def check(self) -> None:
        super().check()
        for each in self.storage.find(Balance):
            assert each.amount >= 0 or not each.account.startswith(("user", "hold")), each
        for job in self.storage.find(Job):
            left = sum(self._may_cost(lease) for lease in self.storage.find(Lease, job=job.id))
            assert self.has(hold_account(job.id)) >= left, (job.id, job.state, left)

    def _may_cost(self, lease: Lease) -> int:
        """What its provider can still make of it."""
        if lease.state in OPEN or (lease.state is S.CANCELLED and lease.receipt is None):
            terms = lease.extension or lease.terms if lease.state is S.RUNNING else lease.terms
            return terms.cap - cost_so_far(lease)
        return 0 if lease.state is S.SETTLED else lease.due - cost_so_far(lease)

    def calm(self) -> None:
        """Everybody goes home, and every provider falls silent."""
        for service in self.storage.find(Service):
            if service.state is not ServiceState.DELETED:
                self.tell("Service", service.id, DeleteAsked())
        for job in self.storage.find(Job, service=""):
            if job.state in LIVE:
                self.tell("Job", job.id, CancelAsked())
        for _ in range(8):
            self.perform_pods()
            for lease in self.storage.find(Lease, state=(S.FINISHED,), deadline=0):
                self.tell("Lease", lease.id, OutputsLost(message="gone"))
            self.pass_time()


WORDS = (
    *("deposit", "post", "serve", "cancel", "time", "withdraw"),
    *WISHES,
    *DEEDS * 2,
    *("agree", "begin", "pods") * 6,
)
MOVES = st.tuples(st.sampled_from(WORDS), st.integers(0, 99))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, min_size=80, max_size=120))
def test_nobody_can_owe_more_than_is_set_aside_and_all_of_it_comes_back(history: list[tuple[str, int]]) -> None:
    books = Chances()
    for what, number in history:
        books.do_one(what, number)
        books.check()
    books.calm()
    books.check()
    assert all(job.state in DONE and not job.is_owing for job in books.storage.find(Job))
    held = [each for each in books.storage.find(Balance) if each.account.startswith("hold:")]
    assert (held, held_by(books.storage, ANN)) == ([], 0)
    assert books.has(user_account(ANN.id)) >= 0


def a_running_pod(books: Books, money: int = 1000) -> Service:
    """A service of one pod at 600, which runs; `money` is what Ann had."""
    books.give(money - 1000)
    books.serve("dep_1", 600, 1)
    books.perform_pods()
    books.agree("job_1x2", "lse_000001")
    books.begin("lse_000001")
    return books.storage.find(Service)[0]


def test_a_pod_is_paid_out_of_what_is_set_aside_and_gives_the_rest_back() -> None:
    books = Books()
    a_running_pod(books)
    assert books.ann() == (400, 600, 0)
    books.tell("Lease", "lse_000001", UsageAcknowledged(seconds=7, paid=Amount(70)))
    assert books.ann() == (400, 530, 70)
    books.tell("Service", "dep_1", DeleteAsked())
    books.perform_pods()
    assert books.ann() == (400, 530, 70)
    books.finish(seconds=9, due=90)
    assert books.ann() == (910, 0, 90)
    books.check()


def test_a_lower_cap_gives_nothing_back_of_what_runs_under_the_old_one() -> None:
    books = Books()
    service = a_running_pod(books)
    lower = UpdateAsked(workload=service.workload, name="s", cap=Amount(1), origin="")
    books.tell("Service", "dep_1", lower)
    assert books.ann() == (400, 600, 0)


def test_what_a_stopped_service_still_owes_is_set_aside_until_it_is_told() -> None:
    books = Books()
    a_running_pod(books)
    books.tell("Service", "dep_1", StopAsked())
    assert books.ann() == (400, 600, 0)
    books.perform_pods()
    books.withdraw()
    books.pass_to(books.storage.find(Lease)[0].deadline)
    books.tell("Lease", "lse_000001", DeadlinePassed())
    assert books.ann() == (600, 0, 0)


def test_a_new_job_waits_while_something_is_about_to_come_back() -> None:
    books = Books()
    a_running_pod(books, money=600)
    books.tell("Service", "dep_1", StopAsked())
    books.perform_pods()
    with pytest.raises(InsufficientFunds):
        books.tell("Service", "dep_1", StartAsked())
    books.finish(seconds=6, due=60)
    books.give(60)
    books.tell("Service", "dep_1", StartAsked())
    assert books.ann() == (0, 600, 60)


def test_a_service_whose_next_job_nobody_can_pay_is_taken_down_and_says_why() -> None:
    books = Books()
    a_running_pod(books, money=600)
    books.finish(code="TERM_ENDED", seconds=60, due=600)
    service = books.storage.find(Service)[0]
    books.pass_to(service.deadline)
    books.tell("Service", "dep_1", DeadlinePassed())
    assert books.perform_pods() == []
    books.perform_pods()
    dry = books.storage.find(Service)[0]
    assert (dry.is_wanted, dry.state, dry.code) == (False, ServiceState.STOPPED, "INSUFFICIENT_FUNDS")
    books.give(600)
    books.tell("Service", "dep_1", StartAsked())
    assert books.storage.find(Service)[0].code == ""
    books.check()


def look_for_late_leases(books: Books) -> Lease:
    """What the loop does, whose memory is of no account here."""
    asyncio.run(extend_services(books.engine, {}))
    return books.storage.find(Lease)[0]


def works_for(books: Books, milliseconds: int) -> None:
    """Time passes, and the provider is paid for it."""
    books.clock.advance(milliseconds)
    lease = books.storage.find(Lease)[0]
    seconds = (books.clock.now() - lease.started_at) // 1000
    books.tell("Lease", lease.id, UsageAcknowledged(seconds=seconds, paid=Amount(10 * seconds)))


def test_a_longer_term_is_set_aside_before_it_is_asked_for_and_given_back_when_it_is_refused() -> None:
    books = Books()
    a_running_pod(books, money=1200)
    works_for(books, 31_000)
    assert books.ann() == (600, 290, 310)
    lease = look_for_late_leases(books)
    assert lease.extension == extended(lease.terms, 60)
    assert books.ann() == (0, 890, 310)
    books.tell("Lease", lease.id, ExtensionRefused(reason="no"))
    assert books.ann() == (600, 290, 310)
    look_for_late_leases(books)
    books.tell("Lease", lease.id, ExtensionAgreed())
    assert books.ann() == (0, 890, 310)
    works_for(books, 40_000)
    assert books.ann() == (0, 490, 710)
    books.check()


def test_who_can_not_pay_for_another_term_runs_to_the_end_of_his_own_and_is_told_why() -> None:
    books = Books()
    a_running_pod(books, money=1199)
    works_for(books, 31_000)
    assert look_for_late_leases(books).extension is None
    assert books.storage.find(Service)[0].is_wanted
    works_for(books, 20_000)
    assert look_for_late_leases(books).extension is None
    service = books.storage.find(Service)[0]
    assert (service.is_wanted, service.code, service.message) == (False, "INSUFFICIENT_FUNDS", NO_TERM)
    books.perform_pods()
    books.finish(seconds=52, due=520)
    assert books.ann() == (679, 0, 520)


def test_a_provider_that_states_nothing_gets_no_longer_term() -> None:
    books = Books()
    a_running_pod(books, money=9999)
    books.clock.advance(31_000)
    assert look_for_late_leases(books).extension is None
    works_for(books, 0)
    assert look_for_late_leases(books).extension is not None


def test_what_an_older_node_set_aside_for_pods_with_their_service_goes_over_to_their_jobs() -> None:
    books = Books()
    service = a_running_pod(books, money=600)
    old = replace(service, pods=tuple(replace(pod, is_posted=False) for pod in service.pods))
    books.storage.put(old)
    move = Transfer(id="t", kind="x", subject="s", postings=between("hold:job_1x2", "hold:dep_1", 600))
    post(books.storage, move, NOW)
    books.tell("Lease", "lse_000001", HealthSeen(health="healthy"))
    assert (books.has("hold:dep_1"), books.has("hold:job_1x2"), books.ann()) == (0, 600, (0, 600, 0))
