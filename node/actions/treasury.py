"""Users' money in and out: what their wallets send to this node is theirs here, and goes back to them alone."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.errors import Conflict, InsufficientFunds, InvalidParameters, NeugridError
from market.happenings import Happening
from market.ledger import CHAIN, CREDITS, MONEY, Transfer, between, user_account
from market.units import Address, Amount, format_amount
from node.actions.access import owned
from node.actions.accounts import wallet_login
from node.actions.answers import as_asked, require_repeat
from node.actions.happenings import Happenings
from node.actions.ids import stable_id
from node.actions.ledger import balance, held_by, post, stray_account
from node.engine import Engine
from node.ports import Chain, Incoming, Tx
from node.records import Account, Login, Mark, Payout, Posted

_log = structlog.get_logger("treasury")
CURSOR: Final = "received"
AT_ONCE: Final = 16
"""Payouts that are gone on with at a time: most of it is waiting for blocks."""
PAGE: Final = 128
REASONS: Final = 8
"""So many different ones are logged."""


class Funds(Struct, frozen=True, kw_only=True):
    """What a user has: money in base units, credits in runs."""

    available: Amount
    held: Amount
    credits: int


class Treasury:
    """Deposits and payouts; less than `least` is not paid out, for the node pays for every transaction."""

    def __init__(self, engine: Engine, chain: Chain, happenings: Happenings, least: int = 0) -> None:
        self._happenings = happenings
        self._least = max(1, least)
        self._engine = engine
        self._chain = chain
        self._storage = engine.storage
        self._paying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By payout: whoever repeats his request waits for its end, and nobody for another's."""

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

        Raises Conflict without a wallet or for another one, InvalidParameters for less than the node pays out,
        InsufficientFunds, IdempotencyMismatch.
        """
        chance, asked = idempotency_key or secrets.token_hex(16), as_asked(to, amount)
        id = f"pay_{stable_id(account.id, chance)}"

        def work(tx: Tx) -> Payout:
            known = tx.get(Payout, id)
            if known is None:
                return self._open(tx, id, account, to, amount)
            require_repeat(known, asked)
            return known

        payout = await self._storage.write(work)
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
        """Go on with payouts that a crash, a silent chain or an empty wallet left pending, each for itself."""
        turns, after = asyncio.Semaphore(AT_ONCE), None
        waiting: list[Exception] = []
        while page := self._storage.find(Payout, state="pending", after=after, limit=PAGE):
            tries = (self._in_turn(payout, turns) for payout in page)
            waiting += [
                end for end in await asyncio.gather(*tries, return_exceptions=True) if isinstance(end, Exception)
            ]
            after = (page[-1].created_at, page[-1].id)
        if waiting:
            _log.warning("payouts wait", count=len(waiting), why=sorted({repr(error) for error in waiting})[:REASONS])

    async def _in_turn(self, payout: Payout, turns: asyncio.Semaphore) -> None:
        async with turns:
            await self._pay(payout)

    def _open(self, tx: Tx, id: str, account: Account, to: Address | None, amount: Amount | None) -> Payout:
        wanted = self._payable(tx, account, to, amount)
        now = self._engine.clock.now()
        payout = Payout(
            id=id,
            account=account.id,
            to=Address(account.wallet),
            amount=Amount(wanted),
            asked=as_asked(to, amount),
            created_at=now,
        )
        tx.insert(payout)
        postings = between(user_account(account.id), CHAIN, wanted)
        post(tx, Transfer(id=id, kind="payout", subject=id, postings=postings), now)
        return payout

    def _payable(self, tx: Tx, account: Account, to: Address | None, amount: Amount | None) -> int:
        """How much of what is asked for is paid out: all of it."""
        if not account.wallet or to not in (None, account.wallet):
            raise Conflict("money goes to the wallet of the account alone: link it first", expected=account.wallet)
        available = balance(tx, user_account(account.id))
        wanted = available if amount is None else amount
        if amount is not None and amount < self._least:
            least = format_amount(Amount(self._least))
            raise InvalidParameters(
                f"no less than {least} is paid out", field="amount", value=format_amount(amount), expected=f">= {least}"
            )
        if wanted > available or wanted < self._least:
            needed = max(self._least, wanted)
            raise InsufficientFunds("there is not so much to withdraw", needed=needed, available=available)
        return wanted

    async def _pay(self, payout: Payout) -> Payout:
        async with self._paying.setdefault(payout.id, asyncio.Lock()):
            current = self._storage.get(Payout, payout.id) or payout
            if current.state != "pending":
                return current
            receipt = await self._chain.pay(current.to, current.amount, f"payout:{current.id}")
            after = replace(
                current, state="confirmed" if receipt.succeeded else "failed", transaction=receipt.hash
            )  # fmt: skip
            return await self._storage.write(lambda tx: self._close(tx, after))

    def _close(self, tx: Tx, payout: Payout) -> Payout:
        """Keep how it ended, once; what did not leave is the user's again."""
        known = tx.get(Payout, payout.id)
        if known is not None and known.state != "pending":
            return known
        tx.put(payout)
        data = {"payout_id": payout.id, "amount": format_amount(payout.amount), "transaction": payout.transaction}
        happening = Happening(account=payout.account, event=f"payout.{payout.state}", subject=payout.id, data=data)
        self._happenings.record(tx, happening, self._engine.clock.now())
        if payout.state == "failed":
            postings = between(CHAIN, user_account(payout.account), payout.amount)
            id = f"{payout.id}:back"
            post(tx, Transfer(id=id, kind="payout", subject=payout.id, postings=postings), self._engine.clock.now())
        return payout

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
