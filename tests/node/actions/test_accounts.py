"""API keys: shown once, kept as digests, and gone at once when they are revoked or expired."""

import asyncio

import pytest

from market.errors import NotFound, Unauthorized
from node.actions.accounts import PREFIX, Accounts, digest_of, is_well_formed, new_secret
from node.records import ApiKey
from tests.fakes import FakeClock, MemoryStorage


class Desk:
    """Accounts on a storage and a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.storage = MemoryStorage()
        self.accounts = Accounts(self.storage, self.clock)

    def key(self, expires_in: int | None = None, name: str = "alice") -> tuple[ApiKey, str]:
        async def make() -> tuple[ApiKey, str]:
            account = await self.accounts.create_account(name, "developer")
            return await self.accounts.create_key(account, "laptop", expires_in)

        return asyncio.run(make())

    def who(self, secret: str) -> str:
        return self.accounts.authenticate(secret, self.clock.now()).name


def test_a_key_is_known_by_its_form_before_it_is_looked_up() -> None:
    secret = new_secret()
    assert is_well_formed(secret)
    assert secret.startswith(PREFIX)
    swapped = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    assert not any(
        is_well_formed(text) for text in ("", PREFIX, secret[:-1], secret + "0", swapped, secret[1:], "ü" * 57)
    )


def test_no_two_keys_are_alike() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_a_key_opens_its_account() -> None:
    desk = Desk()
    _, secret = desk.key()
    assert desk.who(secret) == "alice"


def test_only_the_digest_of_a_key_is_stored() -> None:
    desk = Desk()
    key, secret = desk.key()
    assert key.digest == digest_of(secret)
    assert secret not in str(desk.storage._tables)


@pytest.mark.parametrize("secret", ["", "nonsense", new_secret()], ids=["none", "nonsense", "unknown"])
def test_what_is_not_a_key_of_this_node_is_refused(secret: str) -> None:
    desk = Desk()
    desk.key()
    with pytest.raises(Unauthorized):
        desk.who(secret)


def test_a_key_expires() -> None:
    desk = Desk()
    _, secret = desk.key(expires_in=60)
    assert desk.who(secret) == "alice"
    desk.clock.advance(60_000)
    with pytest.raises(Unauthorized):
        desk.who(secret)


def test_a_revoked_key_is_dead_at_once_also_where_it_was_used_before() -> None:
    desk = Desk()
    key, secret = desk.key()
    account = desk.accounts.authenticate(secret, desk.clock.now())
    asyncio.run(desk.accounts.revoke(account, key.id))
    with pytest.raises(Unauthorized):
        desk.who(secret)
    assert desk.accounts.keys(account) == []


def test_nobody_revokes_the_key_of_another() -> None:
    desk = Desk()
    key, secret = desk.key()
    _, other = desk.key(name="mallory")
    mallory = desk.accounts.authenticate(other, desk.clock.now())
    with pytest.raises(NotFound):
        asyncio.run(desk.accounts.revoke(mallory, key.id))
    assert desk.who(secret) == "alice"


def test_an_account_of_the_same_name_is_the_same_account() -> None:
    desk = Desk()
    assert desk.key()[0].account == desk.key()[0].account
