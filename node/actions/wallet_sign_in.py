"""Sign-In with Ethereum (EIP-4361): a wallet is an account."""

import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from market.errors import BadSignature, Forbidden, Unauthorized
from market.signing import recover
from market.siwe import SignInMessage, digest_of_text, read_message
from market.units import Timestamp
from node.actions.accounts import Accounts
from node.actions.audit import Audit
from node.actions.sign_in import Grant, SignIn
from node.ports import Clock, Storage, Tx
from node.records import Account, Nonce

NONCE_FOR: Final = 600_000
"""How long, in ms, a wallet's owner may look at the message."""
SKEW: Final = 60_000
LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Door(Struct, frozen=True, kw_only=True):
    """On which chain wallets sign in, under which names this node is reached, and whether strangers may join.

    `joins` accounts are made an hour: a wallet costs nothing, and who has many has as many addresses to come from.
    Without `hosts` it is reached under the names of loopback alone.
    """

    chain: int
    hosts: tuple[str, ...] = ()
    may_join: bool = False
    joins: int = 60


class WalletSignIn:
    """Lets wallets in."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        accounts: Accounts,
        sign_in: SignIn,
        door: Door,
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._storage = storage
        self._clock = clock
        self._accounts = accounts
        self._sign_in = sign_in
        self.door = door

    async def nonce(self) -> Nonce:
        """A number to sign, good for one use and ten minutes."""
        now = self._clock.now()
        nonce = Nonce(id=secrets.token_hex(16), created_at=now, expires_at=Timestamp(now + NONCE_FOR))
        await self._storage.write(lambda tx: tx.insert(nonce))
        return nonce

    async def by_message(self, text: str, signature: str) -> Grant:
        """A session for who signed the message; Unauthorized says what is wrong with it, Forbidden is for strangers."""
        try:
            account = await self._owner(text, signature)
        except (Unauthorized, Forbidden):
            await self._audit.refused("wallet", "", "wallet")
            raise
        return await self._sign_in.open(account, "wallet")

    async def _owner(self, text: str, signature: str) -> Account:
        message = await self._proved(text, signature)
        joins = self.door.joins if self.door.may_join else 0
        account = await self._accounts.of_wallet(message.address, joins=joins)
        if account is None:
            raise Forbidden("no account has this wallet, and this node takes nobody new", wallet=message.address)
        if account.is_blocked:
            raise Unauthorized("this account was blocked")
        return account

    async def link(self, account: Account, text: str, signature: str) -> Account:
        """Give the account the wallet that signed the message."""
        message = await self._proved(text, signature)
        return await self._accounts.link_wallet(account, message.address)

    async def _proved(self, text: str, signature: str) -> SignInMessage:
        message = read_message(text)
        for is_wrong, what in self._doubts(message):
            if is_wrong():
                raise Unauthorized(f"the signed message does not fit: {what}", field="message")
        if _signer(text, signature) != message.address:
            raise Unauthorized("the message was not signed by the wallet that it names", field="signature")
        if not await self._storage.write(lambda tx: _use(tx, message.nonce, self._clock.now())):
            raise Unauthorized("the signed message does not fit: its nonce is not known or was used", field="message")
        return message

    def _doubts(self, message: SignInMessage) -> tuple[tuple[Callable[[], bool], str], ...]:
        now = self._clock.now()
        return (
            (lambda: not self._is_here(message.domain), f"its domain {message.domain[:64]!r} is not this node's"),
            (lambda: urlsplit(message.uri).netloc != message.domain, "its URI is of another domain"),
            (lambda: message.chain != self.door.chain, f"its chain is {message.chain} and not {self.door.chain}"),
            (lambda: not now - NONCE_FOR <= message.issued_at <= now + SKEW, "it was not issued now"),
            (lambda: 0 < message.expires_at <= now, "it has expired"),
            (lambda: message.begins_at > now, "it is not valid yet"),
        )

    def _is_here(self, domain: str) -> bool:
        if self.door.hosts:
            return domain.lower() in self.door.hosts
        return urlsplit(f"//{domain}").hostname in LOCAL


def _signer(text: str, signature: str) -> str:
    try:
        return recover(digest_of_text(text), bytes.fromhex(signature.removeprefix("0x")))
    except (ValueError, BadSignature) as error:
        raise Unauthorized("this is no signature of a wallet", field="signature") from error


def _use(tx: Tx, id: str, now: int) -> bool:
    """Whether the nonce was good; it is not after this."""
    nonce = tx.get(Nonce, id)
    tx.delete(Nonce, id)
    return nonce is not None and nonce.expires_at > now
