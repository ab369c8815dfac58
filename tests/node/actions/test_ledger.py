"""The ledger in the node: booked in the transaction of the event, always zero in sum, and never twice."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.errors import Conflict, InsufficientFunds, InvalidParameters, InvalidTransition, NotFound
from market.job_events import CancelAsked
from market.leases import LEASE_TERM, MARGIN
from market.ledger import CHAIN, CREDITS, MONEY, Posting, Transfer, between, hold_account, paid_account, user_account
from market.machines import DeadlinePassed, Event
from market.service_events import DeleteAsked, ScaleAsked, StartAsked, StopAsked
from market.tenancy_events import (
    OutputsLost,
    OutputsStored,
    UsageAcknowledged,
)
from market.units import Amount
from node.actions.ledger import Ledger, held_by, post
from node.records import Balance, Posted
from tests.builders import NOW, a_file
from tests.node.actions.books import ANN, LEASE, ROOT, Books
from tests.node.adapters.samples import a_job


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
