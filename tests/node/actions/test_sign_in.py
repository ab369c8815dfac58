"""Sessions: opened by a password, renewed by a token that is good for one use, ended by hand, theft or time."""

import pytest

from market.errors import NotFound, Unauthorized
from node.actions.sign_in import SESSION_FOR
from node.records import DeviceLogin, Nonce, Session
from tests.node.actions.desk import Desk, run

ANN = "ann@example.org"


def test_a_password_opens_a_session_for_an_hour() -> None:
    desk = Desk()
    user = desk.user(ANN)
    grant = run(desk.people.sign_in.by_password("ANN@example.org", "correct horse"))
    assert (grant.account.id, grant.expires_in) == (user.id, 3600)
    desk.clock.advance(3_599_000)
    assert desk.who(grant.access_token) == user.id
    desk.clock.advance(1_000)
    with pytest.raises(Unauthorized):
        desk.who(grant.access_token)


def test_a_wrong_password_and_a_stranger_are_told_the_same() -> None:
    desk = Desk()
    desk.user(ANN)
    said = []
    for email, password in ((ANN, "wrong horse"), ("eve@example.org", "correct horse"), (ANN, "")):
        with pytest.raises(Unauthorized) as refused:
            run(desk.people.sign_in.by_password(email, password))
        said.append((refused.value.message, refused.value.details))
    assert len({str(words) for words in said}) == 1


def test_a_refresh_token_is_good_for_one_use() -> None:
    desk = Desk()
    user = desk.user(ANN)
    first = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    second = run(desk.people.sign_in.refresh(first.refresh_token))
    assert desk.who(second.access_token) == user.id
    assert second.refresh_token != first.refresh_token
    run(desk.people.sign_in.refresh(second.refresh_token))


def test_a_refresh_token_that_comes_twice_ends_the_session_of_both() -> None:
    desk = Desk()
    desk.user(ANN)
    first = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    second = run(desk.people.sign_in.refresh(first.refresh_token))
    desk.who(second.access_token)
    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(Unauthorized):
            run(desk.people.sign_in.refresh(token))
    with pytest.raises(Unauthorized):
        desk.who(second.access_token)


@pytest.mark.parametrize("token", ["", "ngr_", "ngr_ses_1", "ngr_ses_1.x", "ngr_ses_1.x.y", "\x00"])
def test_what_is_no_refresh_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        run(Desk().people.sign_in.refresh(token))


def test_who_signs_out_is_out_at_once() -> None:
    desk = Desk()
    user = desk.user(ANN)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    session = desk.people.callers.of(grant.access_token).credential
    run(desk.people.sign_in.end(user, session))
    with pytest.raises(Unauthorized):
        desk.who(grant.access_token)
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.refresh(grant.refresh_token))
    with pytest.raises(NotFound):
        run(desk.people.sign_in.end(user, session))


def test_nobody_ends_the_session_of_another() -> None:
    desk = Desk()
    desk.user(ANN)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    session = desk.people.callers.of(grant.access_token).credential
    with pytest.raises(NotFound):
        run(desk.people.sign_in.end(desk.user("eve@example.org"), session))


def test_a_session_ends_after_a_month_and_is_swept_with_all_else_whose_time_is_over() -> None:
    desk = Desk()
    desk.user(ANN)
    grant = run(desk.people.sign_in.by_password(ANN, "correct horse"))
    run(desk.people.wallets.nonce())
    run(desk.people.devices.start("laptop"))
    desk.clock.advance(SESSION_FOR)
    with pytest.raises(Unauthorized):
        run(desk.people.sign_in.refresh(grant.refresh_token))
    run(desk.people.sweep())
    assert [desk.storage.count(noun) for noun in (Session, Nonce, DeviceLogin)] == [0, 0, 0]
