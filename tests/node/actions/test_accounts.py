"""Accounts: one email each, roles that only fit, sessions and keys that end with what they rest on."""

from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Conflict, InvalidParameters, NotFound, Unauthorized
from market.jobs import JobState
from market.leases import LeaseState
from market.ledger import CHAIN, CREDITS, Transfer, between, hold_account, user_account
from market.runs import Run
from market.units import Address, Amount, Timestamp
from node.actions.accounts import Wishes
from node.actions.ledger import balance, post, sums
from node.records import Account, Payout
from tests import builders
from tests.builders import NOW, REQUESTER, a_lease, a_workload
from tests.node.actions.desk import Desk, run
from tests.node.adapters.samples import a_job

ANN = "ann@example.org"


def test_an_email_belongs_to_one_account_in_whatever_letters() -> None:
    desk = Desk()
    desk.user(ANN)
    with pytest.raises(Conflict):
        desk.user("Ann@Example.org")
    assert len(desk.people.accounts.list()) == 1


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        (Wishes(password="correct horse"), "email"),
        (Wishes(email=ANN), "password"),
        (Wishes(email="ann", password="correct horse"), "email"),
        (Wishes(email="a@b\n", password="correct horse"), "email"),
        (Wishes(email=ANN, password="short"), "password"),
        (Wishes(email=ANN, password="x" * 257), "password"),
        (Wishes(email=ANN, password="correct horse", role="king"), "role"),
        (Wishes(email=ANN, password="correct horse", tier="gold"), "tier"),
    ],
)
def test_what_is_no_account_is_refused_and_nothing_is_made(wishes: Wishes, field: str) -> None:
    desk = Desk()
    with pytest.raises(InvalidParameters) as refused:
        run(desk.people.accounts.create(wishes))
    assert refused.value.details["field"] == field
    assert "short" not in str(refused.value.details)
    assert desk.people.accounts.list() == []


def test_a_new_email_lets_in_and_the_old_one_does_not() -> None:
    desk = Desk()
    user = desk.user(ANN)
    run(desk.people.accounts.update(user.id, Wishes(email="ann@new.example")))
    assert run(desk.people.sign_in.by_password("ann@new.example", "correct horse")).account.id == user.id
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.by_password(ANN, "correct horse"))
    desk.user(ANN)


def test_a_new_password_ends_every_session() -> None:
    desk = Desk()
    user = desk.user(ANN)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    desk.who(grant.access_token)
    run(desk.people.accounts.update(user.id, Wishes(password="battery staple")))
    with pytest.raises(Unauthorized):
        desk.who(grant.access_token)
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.by_password(ANN, "correct horse"))
    run(desk.people.sign_in.by_password(ANN, "battery staple"))


def test_who_is_blocked_has_no_way_in() -> None:
    desk = Desk()
    user = desk.user(ANN)
    _, secret = desk.key(user)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    desk.who(secret)
    run(desk.people.accounts.update(user.id, Wishes(is_blocked=True)))
    for credential in (secret, grant.access_token):
        with pytest.raises(Unauthorized):
            desk.who(credential)
    for way_in in (
        desk.people.sign_in.by_password(ANN, "correct horse"),
        desk.people.sign_in.refresh(grant.refresh_token),
    ):
        with pytest.raises(Unauthorized):
            run(way_in)


def test_a_role_counts_from_the_next_request_on() -> None:
    desk = Desk()
    user = desk.user(ANN)
    _, secret = desk.key(user)
    assert "admin" not in desk.people.callers.of(secret).scopes
    run(desk.people.accounts.update(user.id, Wishes(role="admin")))
    assert "admin" in desk.people.callers.of(secret).scopes


def test_somebody_always_looks_after_the_node() -> None:
    desk = Desk()
    operator = run(desk.people.accounts.operator())
    for change in (Wishes(role="developer"), Wishes(is_blocked=True)):
        with pytest.raises(Conflict):
            run(desk.people.accounts.update(operator.id, change))
    with pytest.raises(Conflict):
        run(desk.people.accounts.delete(operator.id))
    desk.user(ANN, role="admin")
    run(desk.people.accounts.delete(operator.id))


def test_the_operator_is_one_account_and_of_the_highest_tier() -> None:
    desk = Desk()
    first, again = (run(desk.people.accounts.operator()) for _ in range(2))
    assert (first.id, first.role, first.tier) == (again.id, "admin", "enterprise")


def test_who_is_deleted_is_gone_with_keys_and_logins_and_his_email_is_free() -> None:
    desk = Desk()
    user = desk.user(ANN)
    _, secret = desk.key(user)
    run(desk.people.accounts.link_wallet(user, REQUESTER))
    run(desk.people.accounts.delete(user.id))
    with pytest.raises(Unauthorized):
        desk.who(secret)
    with pytest.raises(NotFound):
        desk.people.accounts.get(user.id)
    assert desk.people.accounts.list() == []
    assert desk.user(ANN).id != user.id
    assert run(desk.people.accounts.of_wallet(REQUESTER, joins=0)) is None


def test_nobody_is_deleted_whose_work_runs() -> None:
    desk = Desk()
    user = desk.user(ANN)
    desk.storage.put(a_job(account=user.id, workload=a_workload()))
    with pytest.raises(Conflict):
        run(desk.people.accounts.delete(user.id))


LEFT = (
    ("balance", lambda desk, user: desk.pay(user, 200)),
    ("balance", lambda desk, user: desk.pay(user, -9)),
    ("payouts", lambda desk, user: desk.storage.put(a_payout(user))),
    ("held", lambda desk, user: owe(desk, user, held=7)),
    ("owing", lambda desk, user: owe(desk, user, held=0)),
)


def a_payout(user: Account) -> Payout:
    return Payout(id="pay_1", account=user.id, to=REQUESTER, amount=Amount(5), created_at=Timestamp(NOW))


def owe(desk: Desk, user: Account, held: int) -> None:
    """A cancelled job whose lease has not told yet what it costs."""
    job = builders.a_job(account=user.id, state=JobState.CANCELLED, lease="lse_000001", is_owing=True)
    for noun in (job, a_lease("requester", state=LeaseState.CANCELLED, job=job.id)):
        desk.storage.put(noun)
    post(
        desk.storage, Transfer(id="t", kind="x", subject="s", postings=between(CHAIN, hold_account(job.id), held)), NOW
    )


@pytest.mark.parametrize(("what", "leave"), LEFT)
def test_nobody_is_deleted_while_money_of_his_is_left_or_owed(what: str, leave: Any) -> None:
    desk = Desk()
    user = desk.user(ANN)
    leave(desk, user)
    with pytest.raises(Conflict) as refused:
        run(desk.people.accounts.delete(user.id))
    assert refused.value.details[what] != 0
    assert desk.people.accounts.get(user.id) == user


def test_nobody_is_deleted_whose_code_waits() -> None:
    desk = Desk()
    user = desk.user(ANN)
    desk.storage.put(Run(id="r", account=user.id, language="python", code="", inputs=("",), created_at=NOW))
    with pytest.raises(Conflict):
        run(desk.people.accounts.delete(user.id))


def test_who_leaves_and_comes_back_with_his_wallet_gets_no_new_credits() -> None:
    desk = Desk(grant=200)

    def credits(account: Account) -> int:
        return balance(desk.storage, user_account(account.id), CREDITS)

    first = desk.of_wallet(REQUESTER)
    assert credits(first) == 200
    run(desk.people.accounts.delete(first.id))
    again = desk.of_wallet(REQUESTER)
    assert (again.id != first.id, credits(first), credits(again)) == (True, 0, 0)
    assert credits(desk.of_wallet(Address("0x" + "77" * 20))) == 200
    assert sums(desk.storage) == {"money": 0, "credits": 0}


def test_a_wallet_belongs_to_one_account_and_an_account_has_one_wallet() -> None:
    desk = Desk()
    ann, bob = desk.user(ANN), desk.user("bob@example.org")
    run(desk.people.accounts.link_wallet(ann, REQUESTER))
    with pytest.raises(Conflict):
        run(desk.people.accounts.link_wallet(bob, REQUESTER))
    with pytest.raises(Conflict):
        run(desk.people.accounts.link_wallet(ann, "0x" + "77" * 20))  # type: ignore[arg-type]


def test_nobody_becomes_the_operator_by_his_name() -> None:
    desk = Desk()
    operator = run(desk.people.accounts.operator())
    desk.user("root@example.org", role="admin")
    run(desk.people.accounts.delete(operator.id))
    user = desk.user(ANN)
    for name in ("operator", " Operator "):
        with pytest.raises(InvalidParameters):
            run(desk.people.accounts.update(user.id, Wishes(name=name)))
    desk.storage.put(replace(user, name="operator"))
    again = run(desk.people.accounts.operator())
    assert again.id not in (user.id, operator.id)
    assert desk.people.accounts.get(user.id).role == "developer"
