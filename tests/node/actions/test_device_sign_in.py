"""Letting a device in: it waits, somebody decides, and it collects its key once."""

from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Conflict, Forbidden, InvalidParameters, NotFound, QuotaExceeded, Unauthorized
from node.actions.access import ADMIN, scopes_of
from node.actions.accounts import Wishes
from node.actions.device_sign_in import DevicePending
from node.actions.keys import MAX_KEYS
from node.records import Account
from tests.node.actions.desk import Desk, run


class Waiting(Desk):
    """A desk at which a device waits."""

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self.login, self.code = run(self.people.devices.start("laptop", "192.0.2.7", scopes))
        self.ann = self.user()

    def reason(self) -> str:
        with pytest.raises(DevicePending) as pending:
            run(self.people.devices.collect(self.code))
        return pending.value.reason

    def collect(self) -> tuple[Account, str]:
        return run(self.people.devices.collect(self.code))

    def decide(self, typed: str = "", is_let_in: bool = True) -> None:
        run(self.people.devices.decide(self.ann, typed or self.login.user_code, is_let_in=is_let_in))


def test_a_device_waits_until_it_is_let_in_and_then_acts_for_who_let_it_in() -> None:
    desk = Waiting()
    assert desk.reason() == "authorization_pending"
    desk.decide()
    account, key = desk.collect()
    assert account.id == desk.ann.id
    assert desk.people.callers.of(key).scopes == scopes_of(desk.ann)
    assert [each.name for each in desk.people.keys.list(desk.ann)] == ["laptop"]


def test_a_device_gets_no_more_than_it_asked_for() -> None:
    desk = Waiting("compute", "read")
    desk.decide()
    _, key = desk.collect()
    assert desk.people.callers.of(key).scopes == {"read", "compute"}


def test_a_device_may_no_more_when_its_account_may_more_later() -> None:
    desk = Waiting()
    desk.decide()
    _, key = desk.collect()
    promoted = replace(desk.people.accounts.get(desk.ann.id), role=ADMIN)
    run(desk.storage.write(lambda tx: tx.put(promoted)))
    desk.people.callers.forget(desk.ann.id)
    assert desk.people.callers.of(key).scopes == scopes_of(desk.ann)


def test_an_account_lets_no_device_in_that_asks_for_what_it_may_not() -> None:
    desk = Waiting("admin")
    with pytest.raises(Forbidden):
        desk.decide()
    assert desk.reason() == "authorization_pending"
    desk.decide(is_let_in=False)


@pytest.mark.parametrize(("client", "scope"), [("lap\u202etop", "read"), ("lap\ntop", "read"), ("laptop", "all")])
def test_a_name_that_shows_not_all_its_letters_and_a_scope_that_there_is_not_are_refused(
    client: str, scope: str
) -> None:
    with pytest.raises(InvalidParameters):
        run(Desk().people.devices.start(client, scopes=(scope,)))


def test_the_key_is_collected_once() -> None:
    desk = Waiting()
    desk.decide()
    desk.collect()
    assert desk.reason() == "expired_token"


def test_a_device_that_finds_no_room_for_its_key_collects_it_once_there_is() -> None:
    desk = Waiting()
    first, *_ = [desk.key(desk.ann)[0] for _ in range(MAX_KEYS)]
    desk.decide()
    for _ in range(2):
        with pytest.raises(QuotaExceeded):
            desk.collect()
    run(desk.people.keys.revoke(desk.ann, first.id))
    account, key = desk.collect()
    assert desk.who(key) == account.id == desk.ann.id
    assert desk.reason() == "expired_token"


def test_a_login_goes_in_the_transaction_that_brings_its_key() -> None:
    desk = Waiting()
    desk.decide()
    write, works = desk.storage.write, []

    async def counted(work: Any) -> Any:
        works.append(work)
        return await write(work)

    desk.storage.write = counted  # type: ignore[method-assign]
    desk.collect()
    assert len(works) == 1, "a kill between two would leave neither"


def test_a_device_ends_the_other_key_of_an_account_that_has_but_one() -> None:
    desk = Waiting()
    run(desk.people.accounts.update(desk.ann.id, Wishes(has_single_key=True)))
    _, old = desk.key(desk.people.accounts.get(desk.ann.id))
    assert desk.who(old) == desk.ann.id
    desk.decide()
    desk.collect()
    with pytest.raises(Unauthorized):
        desk.who(old)


def test_the_code_may_be_typed_as_people_type() -> None:
    desk = Waiting()
    desk.decide(f" {desk.login.user_code.lower().replace('-', ' ')} ")
    desk.collect()


def test_a_device_that_is_refused_is_told_so() -> None:
    desk = Waiting()
    desk.decide(is_let_in=False)
    assert desk.reason() == "access_denied"


def test_what_was_decided_stays() -> None:
    desk = Waiting()
    desk.decide(is_let_in=False)
    with pytest.raises(Conflict):
        desk.decide()
    assert desk.reason() == "access_denied"


def test_who_asks_too_often_is_slowed_down() -> None:
    desk = Waiting()
    assert [desk.reason(), desk.reason()] == ["authorization_pending", "slow_down"]
    desk.clock.advance(5_000)
    assert desk.reason() == "slow_down"
    desk.clock.advance(15_000)
    assert desk.reason() == "authorization_pending"


def test_a_login_that_nobody_decides_is_over_after_ten_minutes() -> None:
    desk = Waiting()
    desk.clock.advance(600_000)
    assert desk.reason() == "expired_token"
    with pytest.raises(NotFound):
        desk.decide()


def test_codes_that_were_not_given_out_open_nothing() -> None:
    desk = Waiting()
    for typed in ("", "BBBB-BBBB", desk.code):
        with pytest.raises(NotFound):
            run(desk.people.devices.decide(desk.ann, typed, is_let_in=True))
    desk.code = "guess"
    assert desk.reason() == "expired_token"
