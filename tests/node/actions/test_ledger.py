"""The ledger in the node: booked in the transaction of the event, always zero in sum, and never twice."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.errors import Conflict, InsufficientFunds, InvalidParameters, InvalidTransition, NotFound
from market.job_events import CancelAsked, LeaseAgreed
from market.jobs import post_job
from market.leases import LEASE_TERM, MARGIN, LeaseState
from market.ledger import CHAIN, CREDITS, MONEY, Posting, Transfer, between, hold_account, paid_account, user_account
from market.machines import DeadlinePassed, Event
from market.service_events import DeleteAsked, ScaleAsked, StartAsked, StopAsked
from market.service_rules import post_service
from market.services import Service
from market.tenancy import take_lease
from market.tenancy_events import (
    CommitAcknowledged,
    OutputsLost,
    OutputsStored,
    PhaseReported,
    ReceiptReceived,
    UsageAcknowledged,
)
from market.units import Amount, Rate
from node.actions.ledger import Ledger, balance, held_by, post, sums
from node.engine import Changes, Engine
from node.performers import MACHINES
from node.records import Account, Balance, Posted
from tests.builders import NOW, PROVIDER, a_file, a_receipt, a_workload, terms
from tests.fakes import FakeClock, MemoryStorage
from tests.node.adapters.samples import a_job

ANN = Account(id="user_ann", name="ann", created_at=NOW)
LEASE = "lse_000001"
ROOT = Account(id="user_root", name="root", role="admin", created_at=NOW)


class Books:
    """An engine whose jobs and services are booked; Ann has 1,000."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.ledger = Ledger(grant=5, run_price=3)
        self.clock = FakeClock()
        self.engine = Engine(self.storage, self.clock, MACHINES, (self.ledger.fold,))
        self.storage.put(ANN)
        self.storage.put(ROOT)
        self.give(1000)

    def give(self, amount: int) -> None:
        id = f"deposit:{self.storage.count(Posted)}"
        postings = between(CHAIN, user_account(ANN.id), amount)
        post(self.storage, Transfer(id=id, kind="deposit", subject=ANN.id, postings=postings), NOW)

    def do(self, work: Any) -> Any:
        return asyncio.run(self.engine.transact(work))

    def post_job(self, id: str, cap: int, account: Account = ANN) -> None:
        job = a_job(id, account=account.id, cap=Amount(cap), workload=a_workload())
        self.do(lambda changes: changes.create(*post_job(job)))

    def serve(self, id: str, cap: int, replicas: int) -> None:
        service = Service(
            id=id,
            account=ANN.id,
            name=id,
            workload=a_workload(),
            cap=Amount(cap),
            replicas=replicas,
            created_at=NOW,
        )

        def work(changes: Changes) -> None:
            made, effects = post_service(service, NOW)
            changes.create(made, *effects)

        self.do(work)

    def tell(self, noun: str, id: str, event: Any) -> Any:
        return asyncio.run(self.engine.handle(noun, id, event))

    def run_job(self, id: str, cap: int) -> None:
        """A job of Ann that runs at a provider, under a lease that may cost 600."""
        self.post_job(id, cap)
        lease, commit = take_lease(terms(lease=LEASE), id, "ch", a_workload(), "nonce", NOW)
        self.do(lambda changes: changes.create(lease, commit))
        self.tell("Job", id, LeaseAgreed(lease=LEASE, provider=PROVIDER, rate=Rate(10**10)))
        self.tell("Lease", LEASE, CommitAcknowledged())
        self.tell("Lease", LEASE, PhaseReported(state=LeaseState.RUNNING, started_at=NOW))

    def finish(self, **changes: Any) -> None:
        """The receipt of the lease comes."""
        receipt = a_receipt(lease=LEASE, **changes)
        self.tell("Lease", LEASE, ReceiptReceived(receipt=receipt, signature=b""))

    def ann(self) -> tuple[int, int, int]:
        """What Ann may spend, what is set aside for her things, and what she has paid."""
        return self.has(user_account(ANN.id)), held_by(self.storage, ANN), self.has(paid_account(ANN.id))

    def has(self, account: str) -> int:
        return balance(self.storage, account)

    def check(self) -> None:
        """All books are zero in sum, and every balance is the sum of its lines."""
        assert sums(self.storage) == {MONEY: 0, CREDITS: 0}
        lines: dict[str, int] = {}
        for line in self.storage.find(Posted):
            key = f"{line.account}/{line.currency}"
            lines[key] = lines.get(key, 0) + line.amount
        assert {key: amount for key, amount in lines.items() if amount} == {
            each.id: each.amount for each in self.storage.find(Balance)
        }


def test_a_job_holds_its_cap_and_its_end_gives_it_back() -> None:
    books = Books()
    books.post_job("job_1", 300)
    assert (books.has(user_account(ANN.id)), books.has(hold_account("job_1"))) == (700, 300)
    assert held_by(books.storage, ANN) == 300
    books.tell("Job", "job_1", CancelAsked())
    assert (books.has(user_account(ANN.id)), books.has(hold_account("job_1")), books.has(paid_account(ANN.id))) == (
        1000,
        0,
        0,
    )
    books.check()


def test_a_job_that_is_cancelled_at_a_provider_holds_its_cap_until_the_receipt_comes() -> None:
    books = Books()
    books.run_job("job_1", 1000)
    books.tell("Job", "job_1", CancelAsked())
    assert books.ann() == (0, 1000, 0)
    books.finish(seconds=60, due=600)
    assert books.ann() == (400, 0, 600)
    books.check()


def test_a_job_that_is_cancelled_at_a_provider_who_stays_silent_gets_its_cap_back_when_the_lease_runs_out() -> None:
    books = Books()
    books.run_job("job_1", 1000)
    books.tell("Lease", LEASE, UsageAcknowledged(seconds=7, paid=Amount(70)))
    books.tell("Job", "job_1", CancelAsked())
    books.clock.advance(LEASE_TERM + MARGIN)
    books.tell("Lease", LEASE, DeadlinePassed())
    assert books.ann() == (930, 0, 70)
    books.check()


@pytest.mark.parametrize(
    ("event", "cost"), [(OutputsStored(), 50), (OutputsLost(message="gone"), 0)], ids=["here", "lost"]
)
def test_a_job_that_is_cancelled_while_its_outputs_come_holds_its_cap_until_they_are_here(
    event: Event, cost: int
) -> None:
    books = Books()
    books.run_job("job_1", 1000)
    books.finish(outputs=(a_file(),))
    books.tell("Job", "job_1", CancelAsked())
    assert books.ann() == (0, 1000, 0)
    books.tell("Lease", LEASE, event)
    assert books.ann() == (1000 - cost, 0, cost)
    books.check()


def test_what_the_balance_does_not_cover_is_refused_and_nothing_of_it_stays() -> None:
    books = Books()
    with pytest.raises(InsufficientFunds) as refused:
        books.post_job("job_1", 1001)
    assert refused.value.details == {"needed": 1001, "available": 1000}
    assert books.storage.count(Posted) == 2
    assert [noun.id for noun in books.storage.find(type(a_job()))] == []
    books.check()


def test_an_administrator_spends_the_nodes_wallet() -> None:
    books = Books()
    books.post_job("job_1", 10**9, ROOT)
    books.tell("Job", "job_1", CancelAsked())
    assert books.storage.count(Posted) == 2


def test_more_replicas_than_can_be_paid_are_refused_and_the_service_stays_as_it_was() -> None:
    books = Books()
    books.serve("dep_1", 200, 2)
    with pytest.raises(InsufficientFunds):
        books.tell("Service", "dep_1", ScaleAsked(replicas=6))
    assert books.has(hold_account("dep_1")) == 400
    books.tell("Service", "dep_1", ScaleAsked(replicas=5))
    assert books.has(user_account(ANN.id)) == 0
    books.tell("Service", "dep_1", StopAsked())
    assert books.has(user_account(ANN.id)) == 1000
    books.tell("Service", "dep_1", StartAsked())
    books.tell("Service", "dep_1", DeleteAsked())
    assert books.has(user_account(ANN.id)) == 1000
    books.check()


def test_the_same_transfer_is_booked_once() -> None:
    books = Books()
    transfer = Transfer(id="x", kind="deposit", subject="s", postings=between(CHAIN, "user:a", 5))
    post(books.storage, transfer, NOW)
    with pytest.raises(Conflict):
        asyncio.run(books.storage.write(lambda tx: post(tx, transfer, NOW)))
    assert books.has("user:a") == 5
    books.check()


def test_what_does_not_balance_is_not_booked() -> None:
    books = Books()
    with pytest.raises(InvalidParameters):
        post(books.storage, Transfer(id="x", kind="x", subject="s", postings=(Posting("user:a", 1),)), NOW)
    books.check()


def test_a_new_account_has_credits_and_pays_money_when_they_are_used_up() -> None:
    books = Books()
    books.ledger.welcome(books.storage, ANN, NOW)
    assert books.ledger.price_of_run(books.storage, ANN, 5) == (1, CREDITS)
    assert books.ledger.price_of_run(books.storage, ANN, 6) == (3, MONEY)
    assert books.ledger.price_of_run(books.storage, ROOT, 6) == (0, CREDITS)
    with pytest.raises(InsufficientFunds):
        books.ledger.price_of_run(books.storage, ANN, 1000)
    with pytest.raises(InsufficientFunds):
        Ledger(grant=0, run_price=0).price_of_run(books.storage, ANN, 6)
    books.check()


MOVES = st.lists(
    st.tuples(st.sampled_from(["post", "cancel", "serve", "scale", "stop", "start", "delete"]), st.integers(0, 5)),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MOVES)
def test_whatever_happens_the_books_are_zero_and_nobody_spends_what_he_has_not(moves: list[tuple[str, int]]) -> None:
    books = Books()
    for number, (move, which) in enumerate(moves):
        try:
            match move:
                case "post":
                    books.post_job(f"job_{number}", 100 * (which + 1))
                case "serve":
                    books.serve(f"dep_{number}", 50, which + 1)
                case "cancel":
                    books.tell("Job", f"job_{which}", CancelAsked())
                case "scale":
                    books.tell("Service", f"dep_{which}", ScaleAsked(replicas=which + 2))
                case _:
                    event = {"stop": StopAsked, "start": StartAsked, "delete": DeleteAsked}[move]()
                    books.tell("Service", f"dep_{which}", event)
        except (InsufficientFunds, NotFound, InvalidTransition):
            pass
        books.check()
        own = [each for each in books.storage.find(Balance) if each.account.startswith(("user", "hold"))]
        assert all(each.amount >= 0 for each in own)
