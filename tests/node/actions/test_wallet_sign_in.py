"""Sign-In with Ethereum: the wallet that signed, here, now, once."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Conflict, Forbidden, InvalidParameters, RateLimited, Unauthorized
from market.signing import Signer
from market.siwe import SignInMessage, digest_of_text, write_message
from node.actions.accounts import Wishes
from tests.node.actions.desk import CHAIN, Desk, run

WALLET, OTHER = Signer(b"w" * 32), Signer(b"o" * 32)


def a_message(desk: Desk, **changes: Any) -> SignInMessage:
    message = SignInMessage(
        domain="localhost:8080",
        address=WALLET.address,
        uri="http://localhost:8080/v1/auth/siwe",
        chain=CHAIN,
        nonce=run(desk.people.wallets.nonce()).id,
        issued_at=desk.clock.now(),
    )
    return replace(message, **changes)


def signed(message: SignInMessage, signer: Signer = WALLET) -> tuple[str, str]:
    text = write_message(message, "Sign in to Neugrid.")
    return text, "0x" + signer.sign(digest_of_text(text)).hex()


def test_a_wallet_is_an_account_that_it_comes_back_to() -> None:
    desk = Desk()
    first = run(desk.people.wallets.by_message(*signed(a_message(desk))))
    again = run(desk.people.wallets.by_message(*signed(a_message(desk))))
    assert first.account.id == again.account.id
    assert (first.account.wallet, first.account.role) == (WALLET.address, "developer")
    assert desk.who(again.access_token) == first.account.id


def test_a_message_is_good_once() -> None:
    desk = Desk()
    text, signature = signed(a_message(desk))
    run(desk.people.wallets.by_message(text, signature))
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(text, signature))


@pytest.mark.parametrize(
    "change",
    [
        lambda now: {"domain": "evil.example", "uri": "https://evil.example/"},
        lambda now: {"domain": "localhost.evil.example", "uri": "http://localhost.evil.example/"},
        lambda now: {"domain": "localhost@evil.example"},
        lambda now: {"uri": "https://evil.example/"},
        lambda now: {"chain": 1},
        lambda now: {"nonce": "0123456789abcdef"},
        lambda now: {"issued_at": now - 600_001},
        lambda now: {"issued_at": now + 60_001},
        lambda now: {"expires_at": now},
        lambda now: {"begins_at": now + 1},
    ],
)
def test_a_message_that_was_not_made_for_here_and_now_is_refused(change: Callable[[int], dict[str, Any]]) -> None:
    desk = Desk()
    message = a_message(desk, **change(desk.clock.now()))
    with pytest.raises((Unauthorized, InvalidParameters)):
        run(desk.people.wallets.by_message(*signed(message)))
    assert desk.people.accounts.list() == []


@pytest.mark.parametrize("signature", ["", "0x", "0x00", "zz", "0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "11" * 64])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    desk = Desk()
    text, _ = signed(a_message(desk))
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(text, signature))


def test_the_signature_of_another_wallet_is_refused_and_the_nonce_stays_good() -> None:
    desk = Desk()
    message = a_message(desk)
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(*signed(message, OTHER)))
    run(desk.people.wallets.by_message(*signed(message)))


def test_a_nonce_is_good_for_ten_minutes() -> None:
    desk = Desk()
    message = a_message(desk)
    desk.clock.advance(600_000)
    late = replace(message, issued_at=desk.clock.now())
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(*signed(late)))


def test_a_node_that_is_reached_by_name_takes_its_names_alone() -> None:
    desk = Desk(hosts=("api.example.org",))
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(*signed(a_message(desk))))
    here = a_message(desk, domain="api.example.org", uri="https://api.example.org/login")
    run(desk.people.wallets.by_message(*signed(here)))


def test_so_many_wallets_join_in_an_hour_and_those_that_did_come_back() -> None:
    desk = Desk()
    desk.people.wallets.door = replace(desk.people.wallets.door, joins=2)
    wallets = [Signer(bytes([number]) * 32) for number in range(1, 5)]

    def join(wallet: Signer) -> str:
        message = a_message(desk, address=wallet.address)
        return run(desk.people.wallets.by_message(*signed(message, wallet))).account.id

    first = join(wallets[0])
    desk.clock.advance(60_000)
    join(wallets[1])
    with pytest.raises(RateLimited, match="2 new accounts an hour; try again in 3540 s") as refused:
        join(wallets[2])
    assert refused.value.details == {"limit": 2, "window": 3600, "retry_after": 3540}
    assert join(wallets[0]) == first
    desk.clock.advance(3_540_000)
    join(wallets[2])
    with pytest.raises(RateLimited):
        join(wallets[3])


def test_strangers_stay_out_where_nobody_may_join() -> None:
    desk = Desk(may_join=False)
    with pytest.raises(Forbidden):
        run(desk.people.wallets.by_message(*signed(a_message(desk))))
    user = desk.user()
    run(desk.people.wallets.link(user, *signed(a_message(desk))))
    assert run(desk.people.wallets.by_message(*signed(a_message(desk)))).account.id == user.id


def test_a_wallet_is_not_taken_from_its_account() -> None:
    desk = Desk()
    run(desk.people.wallets.by_message(*signed(a_message(desk))))
    with pytest.raises(Conflict):
        run(desk.people.wallets.link(desk.user(), *signed(a_message(desk))))


def test_the_wallet_of_a_blocked_account_does_not_let_in() -> None:
    desk = Desk()
    grant = run(desk.people.wallets.by_message(*signed(a_message(desk))))
    run(desk.people.accounts.update(grant.account.id, Wishes(is_blocked=True)))
    with pytest.raises(Unauthorized):
        run(desk.people.wallets.by_message(*signed(a_message(desk))))
