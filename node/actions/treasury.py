"""Users' money in and out: what their wallets send to this node is theirs here, and goes back to them alone."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.errors import Conflict, IdempotencyMismatch, InsufficientFunds, NeugridError
from market.happenings import Happening
from market.ledger import CHAIN, CREDITS, MONEY, Transfer, between, user_account
from market.units import Address, Amount, format_amount
from node.actions.access import owned
from node.actions.accounts import wallet_login
from node.actions.happenings import Happenings
from node.actions.ids import stable_id
from node.actions.ledger import balance, held_by, post, stray_account
from node.engine import Engine
from node.ports import Chain, Incoming, Tx
from node.records import Account, Login, Mark, Payout, Posted

_log = structlog.get_logger("treasury")
CURSOR: Final = "received"


class Funds(Struct, frozen=True, kw_only=True):
    """What a user has: money in base units, credits in runs."""

    available: Amount
    held: Amount
    credits: int


class Treasury:
    """Deposits and payouts."""

    def __init__(self, engine: Engine, chain: Chain, happenings: Happenings) -> None:
        self._happenings = happenings
        self._engine = engine
        self._chain = chain
        self._storage = engine.storage
        self._paying = asyncio.Lock()

    def cursor(self) -> str:
        """How far the chain was read for deposits."""
        mark = self._storage.get(Mark, CURSOR)
        return mark.value if mark else ""

    async def take(self, transfers: Sequence[Incoming], cursor: str) -> None:
        """Credit what came in, once, and keep the place in the chain in the same transaction."""
        now = self._engine.clock.now()

        def work(tx: Tx) -> None:
            for incoming in transfers:
                self._credit(tx, incoming, now)
            tx.put(Mark(id=CURSOR, value=cursor))

        await self._storage.write(work)

    def funds(self, account: Account) -> Funds:
        """What the user may spend."""
        owner = user_account(account.id)
        return Funds(
            available=Amount(balance(self._storage, owner)),
            held=Amount(held_by(self._storage, account)),
            credits=balance(self._storage, owner, CREDITS),
        )  # fmt: skip

    def lines(
        self, account: Account, *, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[list[Posted], int]:
        """A page of the user's lines in the ledger, newest first, and how many there are in all."""
        where = {"account": user_account(account.id), "currency": MONEY}
        found = self._storage.find(Posted, limit=limit, after=after, offset=offset, newest=True, **where)
        return found, self._storage.count(Posted, **where)

    async def withdraw(
        self, account: Account, to: Address | None, amount: Amount | None, idempotency_key: str = ""
    ) -> Payout:
        """Send the user `amount` (all that he may spend) to his own wallet; a repeated key pays once.

        Raises Conflict without a wallet or for another one, InsufficientFunds, IdempotencyMismatch.
        """
        if not account.wallet or to not in (None, account.wallet):
            raise Conflict("money goes to the wallet of the account alone: link it first", expected=account.wallet)
        chance = idempotency_key or secrets.token_hex(16)
        id = f"pay_{stable_id(account.id, chance)}"

        def work(tx: Tx) -> Payout:
            known = tx.get(Payout, id)
            return known or self._open(tx, id, account, amount)

        payout = await self._storage.write(work)
        if amount is not None and payout.amount != amount:
            raise IdempotencyMismatch("this Idempotency-Key came with another amount before", expected=payout.amount)
        try:
            return await self._pay(payout)
        except NeugridError as error:  # it is booked, and sent as soon as the chain and the wallet allow it
            _log.warning("payout waits", payout=id, why=error.message)
            return payout

    def payout(self, account: Account, id: str) -> Payout:
        """One payout of the account; NotFound."""
        return owned(self._storage, Payout, id, account)

    def payouts(
        self, account: Account, *, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[list[Payout], int]:
        """A page of the account's payouts, newest first, and how many there are in all."""
        found = self._storage.find(Payout, account=account.id, limit=limit, after=after, offset=offset, newest=True)
        return found, self._storage.count(Payout, account=account.id)

    async def finish(self) -> None:
        """Go on with payouts that a crash, a silent chain or an empty wallet left pending."""
        for payout in self._storage.find(Payout, state="pending"):
            await self._pay(payout)

    def _open(self, tx: Tx, id: str, account: Account, amount: Amount | None) -> Payout:
        available = balance(tx, user_account(account.id))
        wanted = available if amount is None else amount
        if wanted > available or wanted <= 0:
            raise InsufficientFunds("there is not so much to withdraw", needed=max(1, wanted), available=available)
        now = self._engine.clock.now()
        payout = Payout(
            id=id, account=account.id, to=Address(account.wallet), amount=Amount(wanted), created_at=now
        )  # fmt: skip
        tx.insert(payout)
        postings = between(user_account(account.id), CHAIN, wanted)
        post(tx, Transfer(id=id, kind="payout", subject=id, postings=postings), now)
        return payout

    async def _pay(self, payout: Payout) -> Payout:
        async with self._paying:
            current = self._storage.get(Payout, payout.id) or payout
            if current.state != "pending":
                return current
            receipt = await self._chain.pay(current.to, current.amount, f"payout:{current.id}")
            after = replace(
                current, state="confirmed" if receipt.succeeded else "failed", transaction=receipt.hash
            )  # fmt: skip
            await self._storage.write(lambda tx: self._close(tx, after))
            return after

    def _close(self, tx: Tx, payout: Payout) -> None:
        """Keep how it ended; what did not leave is the user's again."""
        tx.put(payout)
        data = {"payout_id": payout.id, "amount": format_amount(payout.amount), "transaction": payout.transaction}
        happening = Happening(account=payout.account, event=f"payout.{payout.state}", subject=payout.id, data=data)
        self._happenings.record(tx, happening, self._engine.clock.now())
        if payout.state == "failed":
            postings = between(CHAIN, user_account(payout.account), payout.amount)
            id = f"{payout.id}:back"
            post(tx, Transfer(id=id, kind="payout", subject=payout.id, postings=postings), self._engine.clock.now())

    def _credit(self, tx: Tx, incoming: Incoming, now: int) -> None:
        """What a wallet sent is its account's; what nobody's wallet sent waits until somebody links it."""
        id = f"deposit:{incoming.id}"
        if tx.get(Posted, f"{id}/0") is not None:
            return
        login = tx.get(Login, wallet_login(incoming.sender))
        owner = user_account(login.account) if login else stray_account(incoming.sender)
        _log.info("deposit", sender=incoming.sender, amount=incoming.amount, account=owner)
        postings = between(CHAIN, owner, incoming.amount)
        post(tx, Transfer(id=id, kind="deposit", subject=incoming.id, postings=postings), now)
        if login is not None:
            data = {"amount": format_amount(incoming.amount), "transaction": incoming.id.partition("/")[0]}
            happening = Happening(account=login.account, event="deposit.received", subject=incoming.id, data=data)
            self._happenings.record(tx, happening, now)
