"""Everything about who uses this node, put together: accounts, keys, and the ways in."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec import Struct

from node.actions.access import Caller
from node.actions.accounts import Accounts
from node.actions.callers import Callers
from node.actions.device_sign_in import DeviceSignIn
from node.actions.keys import Keys
from node.actions.ledger import Ledger
from node.actions.sign_in import SignIn
from node.actions.wallet_sign_in import Door, WalletSignIn
from node.ports import Clock, Passwords, Storage, Tokens, Tx
from node.records import ApiKey, DeviceLogin, Nonce, Session

AT_ONCE: Final = 1000


@dataclass(frozen=True, kw_only=True)
class People:
    """The actions around users, which share what is remembered of them."""

    accounts: Accounts
    keys: Keys
    callers: Callers
    sign_in: SignIn
    wallets: WalletSignIn
    devices: DeviceSignIn
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
            while old := self.storage.find(noun, expires_until=now, limit=AT_ONCE):
                await self.storage.write(partial(_delete, noun, [item.id for item in old]))  # type: ignore[attr-defined]


def let_in(
    storage: Storage,
    clock: Clock,
    passwords: Passwords,
    tokens: Tokens,
    door: Door,
    ledger: Ledger,
) -> People:
    """The people of one node."""
    callers = Callers(storage, clock, tokens)
    keys = Keys(storage, clock, callers.forget)
    accounts = Accounts(storage, clock, passwords, ledger, callers.forget)
    sign_in = SignIn(storage, clock, passwords, tokens, callers.forget)
    return People(
        accounts=accounts,
        keys=keys,
        callers=callers,
        sign_in=sign_in,
        wallets=WalletSignIn(storage, clock, accounts, sign_in, door),
        devices=DeviceSignIn(storage, clock, keys),
        storage=storage,
        clock=clock,
    )


def _delete(noun: type[Struct], ids: list[str], tx: Tx) -> None:
    for id in ids:
        tx.delete(noun, id)
