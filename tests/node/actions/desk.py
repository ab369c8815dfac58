"""The people of a node on storage in memory and a clock that the test moves."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from market.ledger import CHAIN as CHAIN_SIDE
from market.ledger import Transfer, between, user_account
from market.units import Address
from node.actions.access import Caller, scopes_of
from node.actions.accounts import Wishes
from node.actions.audit import FOLDS
from node.actions.following import FollowedStorage
from node.actions.keys import PROFILES, NewKey
from node.actions.ledger import Ledger, post
from node.actions.people import People, let_in
from node.actions.wallet_sign_in import Door
from node.adapters.tokens import JwtTokens
from node.records import Account, ApiKey
from tests.fakes import FakeClock, FakePasswords, MemoryStorage

R = TypeVar("R")
CHAIN = 31337
ISSUER = "0x" + "ab" * 20


def run(work: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(work)


class Desk:
    """Where people come to."""

    def __init__(
        self,
        hosts: tuple[str, ...] = (),
        may_join: bool = True,
        profiles: Mapping[str, str] = PROFILES,
        grant: int = 0,
    ) -> None:
        self.clock = FakeClock()
        self.storage = MemoryStorage()
        tokens = JwtTokens(bytes(32), ISSUER)
        door = Door(chain=CHAIN, hosts=hosts, may_join=may_join)
        followed = FollowedStorage(self.storage, self.clock, FOLDS)
        self.people: People = let_in(followed, self.clock, FakePasswords(), tokens, door, Ledger(grant), profiles)

    def user(self, email: str = "ann@example.org", **wishes: Any) -> Account:
        return run(self.people.accounts.create(Wishes(email=email, password="correct horse", **wishes)))

    def of_wallet(self, wallet: Address) -> Account:
        """Whoever signs in with that wallet, new or not."""
        account = run(self.people.accounts.of_wallet(wallet, joins=60))
        assert account is not None
        return account

    def pay(self, account: Account, amount: int) -> None:
        """Money comes in."""
        postings = between(CHAIN_SIDE, user_account(account.id), amount)
        post(self.storage, Transfer(id="deposit", kind="deposit", subject="d", postings=postings), self.clock.now())

    def key(self, account: Account | None = None, **wishes: Any) -> tuple[ApiKey, str]:
        new = NewKey(name="laptop", **wishes)
        return run(self.people.keys.create_for(account or self.user(), new))

    def caller(self, account: Account, *scopes: str) -> Caller:
        return Caller(account=account, scopes=scopes_of(account, scopes), credential="key_1")

    def who(self, credential: str) -> str:
        return self.people.callers.of(credential).account.id
