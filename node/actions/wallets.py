"""The wallet's view: balances, earnings, withdrawals in batches, and refunds of what was deposited and not used."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.audit import Deed
from market.dialogue import RefundAsked, Refunded
from market.errors import Conflict, InsufficientFunds, NeugridError, NotFound, Refused, Unavailable
from market.leases import ENDED, OPEN, Lease, LeaseState
from market.messages import Envelope, Kind
from market.units import Address, Amount
from market.vouchers import Channel
from node.actions.access import owned
from node.actions.answers import as_asked, require_repeat
from node.actions.audit import note
from node.actions.budget import FUNDS
from node.actions.funding import Funding, succeeded
from node.actions.ids import stable_id
from node.actions.payments import reserved_on
from node.actions.peers import Peers
from node.engine import Engine
from node.ports import Chain, Reader
from node.records import Account, Mark, Withdrawal

N = TypeVar("N", Channel, Withdrawal)
_refunded = msgspec.json.Decoder(Refunded)
_log = structlog.get_logger("wallets")
EXIT_KEY: Final = 86_400_000
"""An exit is armed at most once in so many ms under the same circumstances: an armed one expires on chain."""


class WalletBalance(Struct, frozen=True, kw_only=True):
    """Token amounts in base units, native currency in wei; `claimable` are vouchers, `earned` is claimed."""

    address: Address
    token: Amount
    native: int
    deposited: Amount
    promised: Amount
    claimable: Amount
    earned: Amount


class WalletEarnings(Struct, frozen=True, kw_only=True):
    """What this node earned, in base units: total = unclaimed + fees + withdrawable + withdrawn."""

    total: Amount
    unclaimed: Amount
    withdrawable: Amount
    withdrawn: Amount
    fees: Amount


class RefundResult(Struct, frozen=True, kw_only=True):
    """What came back from one channel, or why not."""

    channel: str
    payee: str
    amount: Amount
    transaction: str = ""
    problem: str = ""


class Wallets:
    """Money in and out of this node."""

    def __init__(self, engine: Engine, peers: Peers, chain: Chain, funding: Funding, address: Address) -> None:
        self._engine = engine
        self._peers = peers
        self._chain = chain
        self._funding = funding
        self.address = address
        self._storage = engine.storage
        self._funds: Amount | None = None
        self._paying = asyncio.Lock()
        """One withdrawal at a time: two at once would both count the same earnings."""

    async def balance(self) -> WalletBalance:
        """What the wallet holds, what is deposited for others, what others promised."""
        balances = await self._chain.balances(self.address)
        paying = self._storage.find(Channel, payer=self.address)
        return WalletBalance(
            address=self.address,
            token=balances.token,
            native=balances.native,
            deposited=Amount(sum(channel.deposited for channel in paying)),
            promised=Amount(sum(channel.promised for channel in paying)),
            claimable=self._funding.unclaimed_amount(),
            earned=await self._chain.earned(self.address),
        )

    async def earnings(self) -> WalletEarnings:
        """What the vouchers brought, and where it is now."""
        channels = self._storage.find(Channel, payee=self.address)
        total = sum(channel.promised for channel in channels)
        claimed = sum(channel.claimed for channel in channels)
        withdrawable = await self._chain.earned(self.address)
        withdrawn = sum(item.amount for item in self._storage.find(Withdrawal, state="confirmed"))
        return WalletEarnings(
            total=Amount(total),
            unclaimed=Amount(total - claimed),
            withdrawable=withdrawable,
            withdrawn=Amount(withdrawn),
            fees=Amount(max(0, claimed - withdrawable - withdrawn)),
        )

    async def withdraw(
        self, account: Account, to: Address | None, amount: Amount | None, idempotency_key: str = ""
    ) -> Withdrawal:
        """Claim all vouchers in a batch and pay the earnings out to `to`; a repeated key pays once.

        The contract pays out everything at once: an `amount` must be the whole. InsufficientFunds when there is none,
        IdempotencyMismatch when the key came with another address or amount before.
        """
        id = f"wdr_{stable_id(account.id, idempotency_key)}" if idempotency_key else f"wdr_{secrets.token_hex(12)}"
        async with self._paying:
            known = self._storage.get(Withdrawal, id)
            if known is None:
                known = await self._open_withdrawal(id, account, to, amount)
            require_repeat(known, as_asked(to, amount))
            return await self._pay_out(known) if known.state == "pending" else known

    async def finish_withdrawals(self) -> None:
        """Go on with withdrawals that a crash or a silent chain left pending."""
        async with self._paying:
            await _each(self._storage.find(Withdrawal, state="pending"), self._pay_out)

    def withdrawal(self, account: Account, id: str) -> Withdrawal:
        """One withdrawal of the account."""
        return owned(self._storage, Withdrawal, id, account)

    def withdrawals(
        self, account: Account, *, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[list[Withdrawal], int]:
        """A page of the account's withdrawals, newest first, and how many there are in all."""
        found = self._storage.find(Withdrawal, account=account.id, limit=limit, after=after, offset=offset, newest=True)
        return found, self._storage.count(Withdrawal, account=account.id)

    async def transactions(self) -> list[dict[str, Any]]:
        """The wallet's transactions as its journal holds them, newest first."""
        return (await self._chain.journal())[::-1]

    async def refund(self) -> list[RefundResult]:
        """Take back what is left on our channels: at once where the provider releases it, else by an exit."""
        await note(self._storage, Deed(action="wallet.refund_asked", subject=self.address), self._engine.clock.now())
        results = []
        for channel in self._storage.find(Channel, payer=self.address):
            if channel.deposited > channel.promised:
                results.append(await self._ask_back(channel))
        return results

    async def release(self, envelope: Envelope, message: RefundAsked) -> Refunded:
        """Provider's side: claim what is ours on the channel, then give the rest back to its payer."""
        with self._funding.closing(message.channel):
            channel = await self._engine.transact(lambda changes: _at_rest(changes.tx, message.channel, envelope))
            if channel.promised > channel.claimed:
                await self._funding.claim([channel])
            await self._funding.refresh(channel)
            channel = self._storage.get(Channel, message.channel) or channel
            left = Amount(max(0, channel.deposited - max(channel.claimed, channel.promised)))
            if left == 0:
                return Refunded(0)
            key = f"release:{channel.id[:16]}:{channel.deposited}:{channel.claimed}"
            receipt = succeeded(await self._chain.release(channel.payer, channel.signer, left, key))
            await self._funding.refresh(channel)
        return Refunded(left, receipt.hash)

    async def refresh_funds(self) -> None:
        """Read what the wallet can spend; unknown while the chain does not answer."""
        try:
            balances = await self._chain.balances(self.address)
        except NeugridError:
            self._funds = None
        else:
            free = sum(channel.available for channel in self._storage.find(Channel, payer=self.address))
            self._funds = Amount(balances.token + free)
        mark = Mark(id=FUNDS, value="" if self._funds is None else str(self._funds))
        if self._storage.get(Mark, FUNDS) != mark:
            await self._storage.write(lambda tx: tx.put(mark))

    def funds(self) -> Amount | None:
        """What wallet and channels can cover, as read last; None when it is not known."""
        return self._funds

    async def _open_withdrawal(
        self, id: str, account: Account, to: Address | None, amount: Amount | None
    ) -> Withdrawal:
        await self._funding.claim_all()
        earned = await self._chain.earned(self.address)
        if earned == 0 or (amount is not None and amount > earned):
            raise InsufficientFunds("there is not so much to withdraw", needed=amount or 1, available=earned)
        if amount is not None and amount < earned:
            raise Conflict("the contract pays out all earnings at once", expected=earned, got=amount)
        withdrawal = Withdrawal(
            id=id,
            account=account.id,
            to=to or self.address,
            amount=earned,
            state="pending",
            asked=as_asked(to, amount),
            created_at=self._engine.clock.now(),
        )
        await self._storage.write(lambda tx: tx.put(withdrawal))
        return withdrawal

    async def _pay_out(self, withdrawal: Withdrawal) -> Withdrawal:
        receipt = await self._chain.withdraw(withdrawal.to, f"withdraw:{withdrawal.id}")
        state = "confirmed" if receipt.succeeded else "failed"
        after = replace(withdrawal, state=state, transaction=receipt.hash)
        await self._storage.write(lambda tx: tx.put(after))
        return after

    async def _ask_back(self, channel: Channel) -> RefundResult:
        lease = _latest_lease(self._storage, channel.id, side="requester")
        if lease is None:
            return _kept(channel, "NO_LEASE")
        try:
            return await self._given_back(channel, lease.terms.provider_peer)
        except NeugridError as error:
            return _kept(channel, error.message)

    async def _given_back(self, channel: Channel, peer: str) -> RefundResult:
        """By its provider; an exit is armed where he is silent."""
        try:
            answer = await self._peers.ask(peer, Kind.REFUND, RefundAsked(channel.id), _refunded, 60.0)
        except Unavailable:
            return await self._exit(channel)
        await self._funding.refresh(channel)
        return RefundResult(
            channel=channel.id, payee=channel.payee, amount=Amount(answer.amount), transaction=answer.transaction
        )

    async def finish_exits(self) -> None:
        """Finish the exits whose delay is over: what nobody claimed comes back."""
        exiting = (channel for channel in self._storage.find(Channel, payer=self.address) if channel.exiting)
        await _each(exiting, self._finish_exit)

    async def _finish_exit(self, channel: Channel) -> None:
        seen = await self._chain.channel(channel.id)
        if seen.exiting and seen.exit_ready_at <= self._engine.clock.now():
            key = f"finish-exit:{channel.id[:16]}:{seen.exit_ready_at}"
            await self._chain.finish_exit(channel.signer, channel.payee, key)
            await self._funding.refresh(channel)

    async def _exit(self, channel: Channel) -> RefundResult:
        """Arm an exit from the channel of a provider that is silent; one that is armed already is only told."""
        seen = await self._chain.channel(channel.id)
        left = Amount(max(0, seen.deposited - max(channel.promised, seen.claimed)))
        if not seen.exiting and left:
            day = self._engine.clock.now() // EXIT_KEY
            key = f"start-exit:{channel.id[:16]}:{seen.deposited}:{channel.promised}:{day}"
            await self._chain.start_exit(channel.signer, channel.payee, left, key)
            seen = await self._chain.channel(channel.id)
            await self._funding.refresh(channel)
        problem = f"the provider is silent: {seen.exiting} base units come back from {_instant(seen.exit_ready_at)} on"
        return _kept(channel, problem)


def _kept(channel: Channel, problem: str) -> RefundResult:
    """Nothing came back yet."""
    return RefundResult(channel=channel.id, payee=channel.payee, amount=Amount(0), problem=problem)


async def _each(found: Iterable[N], act: Callable[[N], Awaitable[object]]) -> None:
    """Do it with all, whichever of them it fails for; the first error is raised at the end."""
    problems = []
    for noun in found:
        try:
            await act(noun)
        except NeugridError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _latest_lease(reader: Reader, channel: str, **where: str) -> Lease | None:
    """The latest settled lease of a channel, or one that is not; the index knows states, and most are settled."""
    for states in ((LeaseState.SETTLED,), (*OPEN, *ENDED)):
        found = reader.find(Lease, channel=channel, state=states, newest=True, limit=1, **where)  # type: ignore[arg-type]
        if found:
            return found[0]
    return None


def _at_rest(reader: Reader, id: str, envelope: Envelope) -> Channel:
    """The channel of this requester's leases, when none of them is open or unpaid."""
    channel = reader.get(Channel, id)
    if channel is None or _latest_lease(reader, id, side="provider", requester=envelope.sender) is None:
        raise NotFound("no such channel", id=id)
    if reader.count(Lease, side="provider", channel=id, state=OPEN) or reserved_on(reader, id, "provider"):
        raise Refused("leases on this channel are still open", codes=("LEASES_OPEN",))
    return channel


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
