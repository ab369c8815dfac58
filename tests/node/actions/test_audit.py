"""The log of who did what: what each act leaves in it, what it never shows, and how its heads are signed."""

from typing import Any

import pytest
from msgspec.structs import replace

from market.audit import Actor, AuditEntry, SignedHead, digest_of_head, verify
from market.errors import Forbidden, Unauthorized
from market.signing import Signer, recover
from market.units import Amount
from node.actions.accounts import Wishes
from node.actions.acting import ACTING
from node.actions.audit import ALL, EACH, HOUR, Anchor, Asked
from node.actions.deeds import DEEDS
from node.adapters.rows import SHAPES
from node.records import Account, Payout, Posted
from tests.builders import NOW
from tests.node.actions.desk import Desk, run
from tests.node.actions.test_wallet_sign_in import WALLET, a_message, signed

ANN = "ann@example.org"
NOT_FOLLOWED = {
    *("Job", "Service", "Run", "Lease", "Pending", "Answer"),  # what users run: the journal has its events
    *(
        "Channel",
        "Offer",
        "Balance",
        "Invoice",
        "Traffic",
    ),  # what follows from that: vouchers and the ledger's own lines
    *("Project", "LogChunk", "LogHead", "SeriesChunk", "Holding"),  # content of users, no right and no money
    *("Nonce", "Mark", "Delivery", "Entry", "Happened", "AuditEntry"),  # the node's own bookkeeping
}
"""Records whose changes leave nothing in the log, and why."""


def log(desk: Desk) -> list[AuditEntry]:
    return desk.storage.find(AuditEntry)


def actions(desk: Desk) -> list[str]:
    return [entry.deed.action for entry in log(desk)]


def test_every_record_is_in_the_log_or_there_is_a_reason() -> None:
    assert {noun.__name__ for noun in SHAPES} == {noun.__name__ for noun in DEEDS} | NOT_FOLLOWED


def test_an_account_leaves_its_life_in_the_log() -> None:
    desk = Desk()
    user = desk.user(ANN)
    accounts = desk.people.accounts
    run(accounts.update(user.id, Wishes(role="admin", tier="pro", name="Ann", low_balance=5)))  # type: ignore[arg-type]
    run(accounts.update(user.id, Wishes(password="other horse")))
    run(accounts.update(user.id, Wishes(email="ann@example.com")))
    run(accounts.operator())
    run(accounts.update(user.id, Wishes(is_blocked=True)))
    run(accounts.update(user.id, Wishes(is_blocked=False)))
    run(accounts.delete(user.id))
    mine = [entry.deed for entry in log(desk) if entry.deed.account == user.id]
    assert [deed.action for deed in mine] == [
        *("login.made", "account.made", "account.changed", "password.changed"),
        *("login.removed", "login.made", "account.changed"),
        *("account.blocked", "account.unblocked", "login.removed", "account.deleted"),
    ]
    assert mine[2].detail == {
        "role": "developer -> admin",
        "tier": "free -> pro",
        "low_balance": "None -> 5",
        "name": "changed",
    }
    assert verify(log(desk)).flaw == ""


def test_keys_and_sessions_leave_theirs() -> None:
    desk = Desk()
    user = desk.user(ANN)
    key, _ = desk.key(user, scopes=("read",))
    desk.key(user, rotate=True)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    run(desk.people.sign_in.refresh(grant.refresh_token))
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.refresh(grant.refresh_token))
    assert actions(desk)[2:] == [
        *("key.made", "key.revoked", "key.made"),
        *("session.opened", "session.reused", "session.ended"),
    ]
    assert log(desk)[2].deed.subject == key.id
    assert log(desk)[2].deed.detail == {"name": "laptop", "scopes": "read", "expires_at": "0"}
    assert log(desk)[5].deed.detail == {"by": "password"}


def test_a_session_whose_time_is_over_was_not_ended_by_anybody() -> None:
    desk = Desk()
    desk.user(ANN)
    run(desk.people.sign_in.by_password(ANN, "correct horse"))
    desk.clock.advance(31 * 86_400_000)
    run(desk.people.sweep())
    assert actions(desk)[-1] == "session.opened"


def test_a_device_is_let_in_by_somebody_and_gets_its_key() -> None:
    desk = Desk()
    user = desk.user(ANN)
    login, code = run(desk.people.devices.start("fridge"))
    refused, _ = run(desk.people.devices.start("toaster"))
    run(desk.people.devices.decide(user, login.user_code, is_let_in=True))
    run(desk.people.devices.decide(user, refused.user_code, is_let_in=False))
    run(desk.people.devices.collect(code))
    assert actions(desk)[2:] == ["device.let_in", "device.refused", "key.made"]
    assert log(desk)[2].deed.detail == {"client": "fridge"}


def test_credits_that_are_given_away_are_in_the_log_and_other_lines_of_the_ledger_are_not() -> None:
    desk = Desk()

    def line(account: str, kind: str) -> Posted:
        return Posted(
            id=f"{account}{kind}", account=account, currency="credits", amount=5, kind=kind, subject="", at=NOW
        )

    for each in (line("user:user_1", "grant"), line("grants", "grant"), line("user:user_1", "job")):
        run(desk.people.storage.write(lambda tx, each=each: tx.insert(each)))  # type: ignore[misc]
    [entry] = log(desk)
    assert (entry.deed.action, entry.deed.account) == ("credits.granted", "user_1")
    assert entry.deed.detail == {"amount": "5", "currency": "credits"}


def test_payments_are_in_the_log_when_they_begin_and_when_they_end() -> None:
    desk = Desk()
    opened = Payout(id="pay_1", account="user_1", to=WALLET.address, amount=Amount(2_500_000), created_at=NOW)
    for payout in (opened, opened, replace(opened, state="confirmed", transaction="0x01")):
        run(desk.people.storage.write(lambda tx, payout=payout: tx.put(payout)))  # type: ignore[misc]
    assert actions(desk) == ["payout.opened", "payout.confirmed"]
    assert log(desk)[1].deed.detail == {"amount": "2.5", "to": WALLET.address, "transaction": "0x01"}


def test_the_log_says_on_whose_behalf() -> None:
    desk = Desk()
    actor = Actor(account="user_root", credential="key_9", address="192.0.2.7", request="req_1")

    async def ask() -> Account:
        ACTING.set(actor)
        return await desk.people.accounts.create(Wishes(email=ANN, password="correct horse"))

    user = run(ask())
    run(desk.people.accounts.update(user.id, Wishes(tier="pro")))
    assert {entry.actor for entry in log(desk)[:2]} == {actor}
    assert {entry.deed.account for entry in log(desk)} == {user.id}
    assert log(desk)[-1].actor == Actor(account="node")


def test_no_secret_is_in_the_log() -> None:
    desk = Desk()
    user = desk.user(ANN)
    key, secret = desk.key(user)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    run(desk.people.accounts.update(user.id, Wishes(password="other horse", email="other@example.org")))
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.by_password(ANN, "my secret"))
    text = str(log(desk))
    for word in (secret, key.digest, grant.refresh_token, "horse", "my secret", "example.org"):
        assert word not in text


def refuse(desk: Desk, email: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthorized):
            run(desk.people.sign_in.by_password(email, "wrong"))


def test_refused_sign_ins_are_written_down_in_bounded_number() -> None:
    desk = Desk()
    user = desk.user(ANN)
    refuse(desk, ANN, EACH + 3)
    refused = [entry.deed for entry in log(desk) if entry.deed.action == "sign_in.refused"]
    assert [deed.account for deed in refused] == [user.id] * EACH
    refuse(desk, "bob@example.org")
    assert log(desk)[-1].deed.detail == {"by": "password", "unwritten": "3"}
    for number in range(ALL):
        refuse(desk, f"eve{number}@example.org")
    assert actions(desk).count("sign_in.refused") == ALL
    desk.clock.advance(HOUR)
    refuse(desk, ANN)
    assert log(desk)[-1].deed.detail == {"by": "password", "unwritten": str(EACH + 1)}


def test_an_email_that_nobody_has_is_written_down_as_one_that_somebody_has() -> None:
    desk = Desk()
    desk.user(ANN)
    counts = []
    for email in (ANN, "nobody@example.org"):
        before = len(log(desk))
        refuse(desk, email, EACH + 5)
        counts.append(len(log(desk)) - before)
    assert counts == [EACH, EACH]


def test_a_wallet_that_is_refused_is_written_down() -> None:
    desk = Desk(may_join=False)
    with pytest.raises(Forbidden):
        run(desk.people.wallets.by_message(*signed(a_message(desk))))
    assert log(desk)[-1].deed.detail == {"by": "wallet"}


def test_a_wallet_that_is_linked_is_written_down_and_how_it_comes_back() -> None:
    desk = Desk()
    user = desk.user(ANN)
    run(desk.people.wallets.link(user, *signed(a_message(desk))))
    run(desk.people.wallets.by_message(*signed(a_message(desk))))
    assert actions(desk)[2:] == ["login.made", "wallet.linked", "session.opened"]
    assert [log(desk)[3].deed.subject, log(desk)[4].deed.detail] == [WALLET.address, {"by": "wallet"}]


def test_entries_are_found_by_whom_they_concern_by_what_and_by_when() -> None:
    desk = Desk()
    ann, bob = desk.user(ANN), desk.user("bob@example.org")
    desk.clock.advance(1000)
    desk.key(ann)
    audit = desk.people.audit
    assert [entry.deed.action for entry in audit.page(Asked(account=ann.id), 9)[0]] == [
        *("key.made", "account.made", "login.made"),
    ]
    assert audit.page(Asked(account=bob.id), 1)[1] == 2
    found, total = audit.page(Asked(action="account.made"), 1, offset=1)
    assert ([entry.deed.account for entry in found], total) == ([ann.id], 2)
    assert audit.page(Asked(since=NOW + 1), 9) == ([log(desk)[-1]], 1)
    assert [entry.seq for entry in audit.page(Asked(), 2, before=4)[0]] == [3, 2]
    assert audit.page(Asked(actor="nobody"), 9) == ([], 0)


def test_a_head_is_signed_once_for_each_length() -> None:
    desk, kept = Desk(), []
    signer = Signer(b"\x01" * 32)
    anchor = Anchor(desk.storage, signer, kept.append)
    run(anchor.sign())
    assert kept == []
    desk.user(ANN)
    run(anchor.sign())
    run(anchor.sign())
    [signed] = kept
    assert recover(digest_of_head(signed.head), signed.signature) == signer.address
    assert verify(log(desk), [signed.head]).flaw == ""


def test_a_head_that_could_not_be_kept_is_signed_again() -> None:
    desk = Desk()
    desk.user(ANN)
    tries: list[Any] = []

    def keep(signed: SignedHead) -> None:
        tries.append(signed)
        if len(tries) == 1:
            raise OSError("no space")

    anchor = Anchor(desk.storage, Signer(b"\x01" * 32), keep)
    with pytest.raises(OSError, match="space"):
        run(anchor.sign())
    run(anchor.sign())
    assert len(tries) == 2
