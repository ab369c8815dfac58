"""The provider's view of its channels: does the deposit cover the work, and what is worth claiming."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from msgspec.structs import replace

from market.errors import Conflict, InvalidTransition, Unavailable
from market.leases import OPEN, Lease, LeaseState, Terms, reserved
from market.provision_events import ChannelFunded
from market.signing import Signer
from market.units import Address, Amount
from market.vouchers import Channel
from node.actions.payments import stored_channel
from node.engine import Changes, Engine
from node.ports import Chain, Claim, Reader, Receipt

_log = structlog.get_logger("funding")
BATCH: Final = 128


class Funding:
    """Deposits as seen on chain, vouchers as accepted, and their redemption."""

    def __init__(self, engine: Engine, chain: Chain, wallet: Signer | Address, domain: bytes) -> None:
        self._engine = engine
        self._chain = chain
        self.payee = wallet if isinstance(wallet, str) else wallet.address
        self.domain = domain
        self._closing: set[str] = set()

    async def admit(self, lease: Lease) -> bool:
        """Let a committed lease in once the channel holds its cap beside those of all that were let in before it.

        Counted and let in within one transaction, so that one deposit does not let in two. The chain is asked only when
        what is stored does not suffice; unknown counts as not covered.
        """
        if await self._let_in(lease):
            return True
        await self.look_at(lease)
        return await self._let_in(lease)

    async def look_at(self, lease: Lease) -> None:
        """Take what the chain says of the lease's channel; an RPC that does not answer changes nothing."""
        try:
            await self.refresh(stored_channel(self._engine.storage, lease))
        except Unavailable as error:
            _log.info("the chain does not answer", why=error.message)

    def covers(self, reader: Reader, lease: Lease, terms: Terms) -> bool:
        """Whether the channel holds what the lease may cost under `terms` beside the others."""
        return self._is_covered(reader, replace(lease, terms=terms))

    @contextmanager
    def closing(self, channel: str) -> Iterator[None]:
        """Nothing is let in on the channel while its deposit is given back. Conflict when that is done already."""
        if channel in self._closing:
            raise Conflict("this deposit is being given back already", channel=channel)
        self._closing.add(channel)
        try:
            yield
        finally:
            self._closing.discard(channel)

    async def refresh(self, channel: Channel) -> None:
        """Take deposit, claims and armed exits of a channel from the chain; an armed exit counts as gone.

        A channel without a deposit of which nothing is known is not kept: everybody can name such ones.
        """
        seen = await self._chain.channel(channel.id)

        def work(changes: Changes) -> None:
            known = changes.tx.get(Channel, channel.id)
            after = replace(known or channel, deposited=seen.deposited, claimed=seen.claimed, exiting=seen.exiting)
            if after != known and (known or seen.deposited):
                changes.tx.put(after)

        await self._engine.transact(work)

    def unclaimed(self) -> list[Channel]:
        """Channels to us that hold vouchers above what was claimed, largest first."""
        channels = [c for c in self._engine.storage.find(Channel, payee=self.payee) if c.promised > c.claimed]
        return sorted(channels, key=lambda channel: channel.claimed - channel.promised)

    def unclaimed_amount(self) -> Amount:
        """What a claim of everything would bring, before the fee."""
        return Amount(sum(channel.promised - channel.claimed for channel in self.unclaimed()))

    async def claim_all(self) -> list[Receipt]:
        """Redeem all vouchers."""
        return await self.claim(self.unclaimed())

    async def claim(self, channels: Sequence[Channel]) -> list[Receipt]:
        """Redeem the vouchers of these channels in batches; a repeat after a crash redeems nothing twice."""
        receipts = []
        for start in range(0, len(channels), BATCH):
            batch = channels[start : start + BATCH]
            content = ",".join(f"{channel.id}@{channel.promised}" for channel in batch)
            key = f"claim:{hashlib.sha256(content.encode()).hexdigest()[:32]}"
            claims = [
                Claim(payer=c.payer, signer=c.signer, cumulative=c.promised, signature=c.signature) for c in batch
            ]
            receipts.append(succeeded(await self._chain.claim(self.payee, claims, key)))
            for channel in batch:
                await self.refresh(channel)
        return receipts

    async def _let_in(self, lease: Lease) -> bool:
        """Whether the lease waits for its deposit no more."""

        def work(changes: Changes) -> bool:
            if not self._is_covered(changes.tx, lease):
                return False
            with suppress(InvalidTransition):
                changes.apply("Lease", lease.id, ChannelFunded())
            return True

        return self._is_covered(self._engine.storage, lease) and await self._engine.transact(work)

    def _is_covered(self, reader: Reader, lease: Lease) -> bool:
        return (
            lease.channel not in self._closing and _reserved(reader, lease) <= stored_channel(reader, lease).available
        )


def _reserved(reader: Reader, lease: Lease) -> int:
    """What this lease, and those that were let in before it, may still cost."""
    states = (*OPEN[2:], LeaseState.FINISHED, LeaseState.CANCELLED, LeaseState.FAILED)
    others = reader.find(Lease, side="provider", channel=lease.channel, state=states)
    return reserved(lease) + sum(reserved(other) for other in others if other.id != lease.id)


def succeeded(receipt: Receipt) -> Receipt:
    """The receipt of a transaction that did what it should; Conflict when the contract refused it in the block."""
    if not receipt.succeeded:
        raise Conflict("the contract refused the transaction", transaction=receipt.hash)
    return receipt
