"""The provider's view of its channels: does the deposit cover the work, and what is worth claiming."""

import hashlib
from typing import Final

import structlog
from msgspec.structs import replace

from market.errors import Conflict, Unavailable
from market.leases import OPEN, Lease, LeaseState, reserved
from market.signing import Signer
from market.units import Address, Amount
from market.vouchers import Channel
from node.actions.payments import stored_channel
from node.engine import Changes, Engine
from node.ports import Chain, Claim, Receipt

_log = structlog.get_logger("funding")
BATCH: Final = 128


class Funding:
    """Deposits as seen on chain, vouchers as accepted, and their redemption."""

    def __init__(self, engine: Engine, chain: Chain, wallet: Signer | Address, domain: bytes) -> None:
        self._engine = engine
        self._chain = chain
        self.payee = wallet if isinstance(wallet, str) else wallet.address
        self.domain = domain

    async def covers(self, lease: Lease) -> bool:
        """Whether the channel holds the caps of this lease and all others that were let in before it.

        The chain is asked only when what is stored does not suffice; unknown counts as not covered.
        """
        if self._is_covered(lease):
            return True
        try:
            await self.refresh(stored_channel(self._engine.storage, lease))
        except Unavailable as error:
            _log.info("the chain does not answer", why=error.message)
            return False
        return self._is_covered(lease)

    async def refresh(self, channel: Channel) -> None:
        """Take deposit, claims and armed exits of a channel from the chain; an armed exit counts as gone."""
        seen = await self._chain.channel(channel.id)

        def work(changes: Changes) -> None:
            present = changes.tx.get(Channel, channel.id) or channel
            changes.tx.put(replace(present, deposited=seen.deposited, claimed=seen.claimed, exiting=seen.exiting))

        await self._engine.transact(work)

    def unclaimed(self) -> list[Channel]:
        """Channels to us that hold vouchers above what was claimed, largest first."""
        channels = [c for c in self._engine.storage.find(Channel, payee=self.payee) if c.promised > c.claimed]
        return sorted(channels, key=lambda channel: channel.claimed - channel.promised)

    def unclaimed_amount(self) -> Amount:
        """What a claim of everything would bring, before the fee."""
        return Amount(sum(channel.promised - channel.claimed for channel in self.unclaimed()))

    async def claim_all(self) -> list[Receipt]:
        """Redeem all vouchers in batches; a repeat after a crash redeems nothing twice."""
        channels = self.unclaimed()
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

    def _is_covered(self, lease: Lease) -> bool:
        channel = stored_channel(self._engine.storage, lease)
        return self._reserved(lease) <= channel.available

    def _reserved(self, lease: Lease) -> int:
        states = (*OPEN[2:], LeaseState.FINISHED, LeaseState.CANCELLED, LeaseState.FAILED)
        others = self._engine.storage.find(Lease, side="provider", channel=lease.channel, state=states)
        return reserved(lease) + sum(reserved(other) for other in others if other.id != lease.id)


def succeeded(receipt: Receipt) -> Receipt:
    """The receipt of a transaction that did what it should; Conflict when the contract refused it in the block."""
    if not receipt.succeeded:
        raise Conflict("the contract refused the transaction", transaction=receipt.hash)
    return receipt
