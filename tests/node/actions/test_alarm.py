"""The alarm of a low balance: told once when it falls, again only after it rose, whatever moves the ledger."""

from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.job_events import CancelAsked
from market.ledger import CHAIN, CREDITS, MONEY, Transfer, between, user_account
from market.units import Amount
from node.actions.alarm import Alarm
from node.actions.following import FollowedStorage
from node.actions.happenings import Happenings
from node.actions.ledger import balance, post
from node.actions.webhooks import tell
from node.engine import Engine
from node.performers import MACHINES
from node.ports import Tx
from node.records import Account, Delivery, Happened, Webhook
from tests.builders import NOW
from tests.fakes import FakeClock
from tests.node.actions.desk import run
from tests.node.actions.test_ledger import ANN, ROOT, Books

LOW = 100


class Alarmed(Books):
    """The books of Ann and the operator, whose node thinks that less than LOW is little."""

    def __init__(self) -> None:
        super().__init__()
        self.followed = FollowedStorage(self.storage, FakeClock(), Alarm(LOW, Happenings(tell)).folds())
        self.engine = Engine(self.followed, FakeClock(), MACHINES, (self.ledger.fold,))
        self.moves = count()

    def write(self, work: Any) -> None:
        run(self.followed.write(work))

    def move(self, amount: int, account: str = ANN.id, currency: str = MONEY) -> None:
        """What comes in, or goes out where it is negative."""
        id = f"move:{next(self.moves)}"
        postings = between(CHAIN, user_account(account), amount)
        self.write(
            lambda tx: post(tx, Transfer(id=id, kind="x", subject="x", currency=currency, postings=postings), NOW)
        )

    def set(self, **changes: Any) -> None:
        def work(tx: Tx) -> None:
            account = tx.get(Account, ANN.id)
            assert account is not None
            tx.put(replace(account, **changes))

        self.write(work)

    def told(self) -> list[dict[str, str]]:
        found = self.storage.find(Happened, event="billing.low_balance")
        assert {each.account for each in found} <= {ANN.id}
        return [msgspec.json.decode(each.body) for each in found]


def test_it_is_told_once_when_the_balance_falls_and_again_after_it_rose() -> None:
    books = Alarmed()
    books.move(-900)
    assert books.told() == [], "at the threshold it is not below it"
    books.move(-1)
    books.move(-9)
    assert books.told() == [{"balance": "0.000099", "threshold": "0.0001"}]
    books.move(9)
    books.move(-50)
    assert len(books.told()) == 1
    books.move(100)
    books.move(-100)
    assert len(books.told()) == 2


def test_what_is_set_aside_is_not_left_to_spend() -> None:
    books = Alarmed()
    books.post_job("job_1", 950)
    assert [each["balance"] for each in books.told()] == ["0.00005"]
    books.tell("Job", "job_1", CancelAsked())
    assert len(books.told()) == 1


def test_all_that_is_left_may_go_at_once() -> None:
    books = Alarmed()
    books.move(-1000)
    assert [each["balance"] for each in books.told()] == ["0.0"]


def test_a_user_sets_his_own_threshold_or_none() -> None:
    books = Alarmed()
    books.set(low_balance=Amount(0))
    books.move(-950)
    assert books.told() == []
    books.set(low_balance=Amount(60))
    books.set(low_balance=Amount(70))
    assert [each["threshold"] for each in books.told()] == ["0.00006"], "it is low by the setting, too"
    books.set(low_balance=Amount(50))
    books.set(low_balance=None)
    assert len(books.told()) == 2


def test_credits_administrators_and_who_has_nothing_from_the_first_are_not_told() -> None:
    books = Alarmed()
    books.move(5, currency=CREDITS)
    books.move(-5, currency=CREDITS)
    books.move(1000, ROOT.id)
    books.move(-1000, ROOT.id)
    books.write(lambda tx: tx.put(Account(id="user_new", name="new", created_at=NOW)))
    books.move(50, "user_new")
    books.move(-50, "user_new")
    assert books.told() == []


def test_webhooks_hear_of_it_in_the_same_transaction() -> None:
    books = Alarmed()
    hook = Webhook(id="whk_1", account=ANN.id, url="https://hooks.example/", secret=b"", created_at=NOW)
    books.storage.put(hook)
    books.move(-950)
    assert [each.event for each in books.storage.find(Delivery)] == ["billing.low_balance"]


def test_a_move_that_is_undone_tells_nothing() -> None:
    books = Alarmed()

    def work(tx: Tx) -> None:
        post(tx, Transfer(id="t", kind="x", subject="x", postings=between(CHAIN, user_account(ANN.id), -950)), NOW)
        raise ValueError("power cut")

    with pytest.raises(ValueError, match="power cut"):
        books.write(work)
    assert books.told() == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(-300, 300)),
        st.tuples(st.just("set"), st.sampled_from([None, 0, 1, 50, 100, 200, 5000])),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_never_twice_without_a_rise_and_never_missed(steps: list[tuple[str, Any]]) -> None:
    books = Alarmed()
    least, was_low, expected = LOW, False, 0
    for kind, value in steps:
        if kind == "move":
            books.move(value)
        else:
            books.set(low_balance=value)
            least = LOW if value is None else value
        is_low = balance(books.storage, user_account(ANN.id)) < least and least > 0
        expected += is_low and not was_low
        was_low = is_low
        assert len(books.told()) == expected
