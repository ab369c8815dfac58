"""Everything about who uses this node, put together: accounts, keys, and the ways in."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.actions.access import Caller
from node.actions.accounts import Accounts
from node.actions.audit import Audit
from node.actions.callers import Callers
from node.actions.device_sign_in import DeviceSignIn
from node.actions.forgetting import forget
from node.actions.keys import PROFILES, Keys
from node.actions.ledger import Ledger
from node.actions.revoking import Watch
from node.actions.sign_in import SignIn
from node.actions.wallet_sign_in import Door, WalletSignIn
from node.ports import Clock, Passwords, Storage, Tokens
from node.records import ApiKey, DeviceLogin, Nonce, Session


@dataclass(frozen=True, kw_only=True)
class People:
    """The actions around users, which share what is remembered of them."""

    accounts: Accounts
    keys: Keys
    callers: Callers
    sign_in: SignIn
    wallets: WalletSignIn
    devices: DeviceSignIn
    audit: Audit
    watch: Watch
    storage: Storage
    clock: Clock

    async def end(self, caller: Caller) -> None:
        """End the session or the key that the caller came with: whoever holds it may, whatever else it may."""
        if self.storage.get(ApiKey, caller.credential) is None:
            await self.sign_in.end(caller.account, caller.credential)
        else:
            await self.keys.revoke(caller.account, caller.credential)

    async def sweep(self) -> None:
        """Forget sessions, nonces and waiting devices whose time is over, a page at a time."""
        now = self.clock.now()
        for noun in (Session, Nonce, DeviceLogin):
            await forget(self.storage, noun, expires_until=now)


def let_in(
    storage: Storage,
    clock: Clock,
    passwords: Passwords,
    tokens: Tokens,
    door: Door,
    ledger: Ledger,
    profiles: Mapping[str, str] = PROFILES,
) -> People:
    """The people of one node; `profiles` are the platforms that its keys may be made for, and how those begin."""
    callers = Callers(storage, clock, tokens, profiles)
    keys = Keys(storage, clock, callers.forget, profiles)
    accounts = Accounts(storage, clock, passwords, ledger, callers.forget)
    audit = Audit(storage, clock)
    sign_in = SignIn(storage, clock, passwords, tokens, callers.forget, audit)
    return People(
        accounts=accounts,
        keys=keys,
        callers=callers,
        sign_in=sign_in,
        wallets=WalletSignIn(storage, clock, accounts, sign_in, door, audit),
        devices=DeviceSignIn(storage, clock, keys),
        audit=audit,
        watch=Watch(storage, clock),
        storage=storage,
        clock=clock,
    )
