"""The requester's side of its leases: commit, fund, answer statements, take outputs and receipts, pay."""

import asyncio
from collections import defaultdict
from typing import Final

import msgspec
import structlog

from market.billing import complaint, seconds_limit
from market.dialogue import (
    Cancel,
    Commit,
    Countersigned,
    Covered,
    Done,
    Extend,
    Finish,
    Pay,
    Phase,
    Signed,
    Statement,
)
from market.errors import (
    BadMessage,
    InsufficientFunds,
    PeerUnreachable,
    QuotaExceeded,
    Refused,
    Unavailable,
    VoucherTooHigh,
)
from market.jobs import Job
from market.leases import OPEN, SETTLE_WITHIN, Lease, LeaseState, owed_for, term_ends_at, terms_digest
from market.machines import Event
from market.messages import Envelope, Kind
from market.receipts import Receipt, receipt_digest
from market.signing import Signer, require_signer
from market.tenancy import heard, is_worth_noting
from market.tenancy_events import (
    CommitAcknowledged,
    CommitRefused,
    ExtensionAgreed,
    ExtensionRefused,
    FetchOutputs,
    FundChannel,
    OutputsLost,
    OutputsStored,
    PaymentConfirmed,
    ReceiptReceived,
    SendCancel,
    SendCommit,
    SendExtension,
    SendPayment,
)
from market.units import Address, Amount
from node.actions.funding import succeeded
from node.actions.held_leases import held_lease, lease_with
from node.actions.holdings import Holdings
from node.actions.payments import pay_lease, reserved_on, stored_channel
from node.actions.peers import Peers
from node.engine import Changes, Engine
from node.ports import Chain

_done = msgspec.json.Decoder(Done)
_log = structlog.get_logger("tenants")
ONE_TRY: Final = 60.0
"""Seconds for the outputs of a lease that ended long ago: this node was away."""
SLOWEST: Final = 256 * 1024
"""Bytes a second at which outputs must come, when they are many."""


class Tenants:
    """Performs the requester's effects and answers its providers."""

    def __init__(
        self,
        engine: Engine,
        peers: Peers,
        holdings: Holdings,
        chain: Chain,
        voucher_signer: Signer,
        domain: bytes,
        top_up: Amount,
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._holdings = holdings
        self._chain = chain
        self._signer = voucher_signer
        self._domain = domain
        self._top_up = top_up
        self._funding: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # --- effects ---

    async def commit(self, effect: SendCommit) -> Event | None:
        """Send the workload; a provider that no longer holds the offer refuses it."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.OFFERED or lease.workload is None:
            return None
        consent = self._signer.sign(terms_digest(lease.terms)).hex()
        message = Commit(lease.id, lease.workload, lease.nonce, consent)
        try:
            await self._peers.ask(lease.terms.provider_peer, Kind.COMMIT, message, _done)
        except Refused as error:
            return CommitRefused(reason=error.message)
        return CommitAcknowledged()

    async def fund(self, effect: FundChannel) -> None:
        """Bring the channel up to what its open leases may cost; one deposit at a time serves all that wait."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state not in OPEN:
            return
        async with self._funding[lease.channel]:
            channel = stored_channel(self._engine.storage, lease)
            missing = reserved_on(self._engine.storage, lease.channel, "requester") - channel.available
            if missing > 0:
                amount = Amount(max(missing, self._top_up))
                key = f"fund:{lease.id}:{channel.deposited}"
                succeeded(await self._chain.deposit(channel.signer, channel.payee, amount, key))
                await self.refresh_channel(lease)

    async def refresh_channel(self, lease: Lease) -> None:
        """Take the deposit and armed exits of the lease's channel from the chain."""
        seen = await self._chain.channel(lease.channel)

        def work(changes: Changes) -> None:
            channel = stored_channel(changes.tx, lease)
            changes.tx.put(
                msgspec.structs.replace(channel, deposited=seen.deposited, exiting=seen.exiting, claimed=seen.claimed)
            )

        await self._engine.transact(work)

    async def extend(self, effect: SendExtension) -> Event | None:
        """Fund the longer terms and ask for them; a provider that has not seen the deposit yet is asked again."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.RUNNING or lease.extension is None:
            return None
        consent = self._signer.sign(terms_digest(lease.extension)).hex()
        try:
            await self.fund(FundChannel(subject=lease.id))
            await self._peers.ask(lease.terms.provider_peer, Kind.EXTEND, Extend(lease.extension, consent), _done)
        except InsufficientFunds as error:
            return ExtensionRefused(reason=error.message)
        except Refused as error:
            if _is_unseen(error) and self._engine.clock.now() < term_ends_at(lease):
                raise
            return ExtensionRefused(reason=error.message)
        return ExtensionAgreed()

    async def cancel(self, effect: SendCancel) -> None:
        """Ask the provider to stop; a provider that is gone stops by itself when the lease runs out."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is LeaseState.CANCELLED:
            try:
                await self._peers.ask(lease.terms.provider_peer, Kind.CANCEL, Cancel(lease.id), _done)
            except (Refused, PeerUnreachable) as error:
                _log.info("cancel not delivered", lease=lease.id, why=error.code)

    async def fetch_outputs(self, effect: FetchOutputs) -> Event | None:
        """Fetch every output file of the receipt; a provider that no longer has them has lost them."""
        lease = held_lease(self._engine.storage, effect.subject)
        receipt = lease.receipt if lease.state is LeaseState.FINISHED else None
        said = await self._outputs_of(lease, receipt) if receipt else None
        await self._holdings.stop_fetching(lease.id)
        return said

    async def _outputs_of(self, lease: Lease, receipt: Receipt) -> Event:
        try:
            async with asyncio.timeout(max(ONE_TRY, self._left(lease, receipt))):
                await self._fetch(lease, receipt)
        except Refused as error:
            return OutputsLost(message=f"the provider refused its outputs: {error.message}")
        except TimeoutError:
            return OutputsLost(message="the outputs did not come in time")
        except (Unavailable, BadMessage) as error:
            if self._left(lease, receipt) <= 0:
                return OutputsLost(message=f"the outputs could not be had: {error.message}")
            raise
        return OutputsStored()

    async def _fetch(self, lease: Lease, receipt: Receipt) -> None:
        """What its user has no room for is not kept: the provider did its work all the same."""
        job = self._engine.storage.get(Job, lease.job)
        for file in receipt.outputs:
            try:
                await self._holdings.fetch(job.account if job else "", lease.terms.provider_peer, lease.id, file)
            except QuotaExceeded as error:
                _log.info("output not kept", lease=lease.id, digest=file.digest, why=error.message)

    def _left(self, lease: Lease, receipt: Receipt) -> float:
        """Seconds that the provider still has to give its outputs: ten minutes, and a second for every 256 KiB."""
        end = lease.acknowledged_at + SETTLE_WITHIN + sum(file.size for file in receipt.outputs) * 1000 // SLOWEST
        return (end - self._engine.clock.now()) / 1000

    async def pay(self, effect: SendPayment) -> Event | None:
        """Sign what is due and hand it over until the provider confirms; what can not be covered is not promised."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is LeaseState.SETTLED:
            return None
        signed = await self._last_voucher(lease)
        try:
            await self._peers.ask(lease.terms.provider_peer, Kind.PAY, Pay(signed), _done)
        except Refused as error:
            _log.warning("payment refused", lease=lease.id, why=error.message)
        return PaymentConfirmed()

    async def _last_voucher(self, lease: Lease) -> Signed:
        """What is due, signed. A short lease may end before we have seen our own deposit: then the chain is asked."""
        missing = lease.due - lease.paid - stored_channel(self._engine.storage, lease).available
        if missing > 0:
            async with self._funding[lease.channel]:
                await self.refresh_channel(lease)
        return await self._engine.transact(lambda changes: self._sign(changes, lease.id))

    def _sign(self, changes: Changes, id: str) -> Signed:
        lease = held_lease(changes.tx, id)
        try:
            return pay_lease(changes, lease, lease.due, lease.seconds, self._signer, self._domain)
        except VoucherTooHigh as error:
            _log.warning("deposit too small for the last voucher", lease=id, **error.details)
            return pay_lease(changes, lease, lease.paid, lease.seconds, self._signer, self._domain)

    # --- messages from providers ---

    async def take_statement(self, envelope: Envelope, message: Statement) -> Covered:
        """The provider's phase and usage; what is due by our own clock is covered by a voucher at once."""
        return await self._engine.transact(lambda changes: self._cover(changes, envelope.sender, message))

    def _cover(self, changes: Changes, sender: Address, message: Statement) -> Covered:
        lease = lease_with(changes.tx, message.phase.lease, "requester", sender)
        if lease.state not in OPEN:
            raise Refused("this lease has ended here", codes=("LEASE_ENDED",))
        phase = message.phase
        report = heard(lease, _state_of(phase), phase.started_at, phase.health, phase.direct, phase.pulled)
        if is_worth_noting(lease, report, changes.now):
            lease = changes.apply("Lease", lease.id, report)
        if lease.state is not LeaseState.RUNNING:
            return Covered()
        seconds = min(message.seconds, seconds_limit(lease, changes.now))
        due = owed_for(lease.terms, seconds, lease.runs)
        amount = Amount(max(due, lease.paid))
        return Covered(pay_lease(changes, lease, amount, seconds, self._signer, self._domain), lease.runs)

    async def take_receipt(self, envelope: Envelope, message: Finish) -> Countersigned:
        """The provider's last word: checked, stored, counter-signed. A second time gets the same answer."""
        digest = receipt_digest(message.receipt)
        signature = bytes.fromhex(message.signature)
        require_signer(digest, signature, envelope.sender)
        await self._engine.transact(
            lambda changes: self._keep_receipt(changes, envelope.sender, message.receipt, signature)
        )
        return Countersigned(self._peers.signer.sign(digest).hex())

    def _keep_receipt(self, changes: Changes, sender: Address, receipt: Receipt, signature: bytes) -> None:
        lease = lease_with(changes.tx, receipt.lease, "requester", sender)
        if lease.receipt == receipt:
            return
        if lease.receipt is not None:
            raise Refused("another receipt was signed for this lease", codes=("RECEIPT_DIFFERS",))
        if lease.state not in OPEN and lease.state is not LeaseState.CANCELLED:
            raise Refused("this lease has ended here", codes=("LEASE_ENDED",))
        problem = complaint(lease, receipt, changes.now)
        if problem:
            raise Refused("the receipt claims more than our clock, the terms and the order allow", codes=(problem,))
        changes.apply("Lease", lease.id, ReceiptReceived(receipt=receipt, signature=signature))


def _is_unseen(error: Refused) -> bool:
    """Whether the provider only has not seen our deposit yet."""
    codes = error.details.get("codes")
    return isinstance(codes, tuple) and "NOT_FUNDED" in codes


def _state_of(phase: Phase) -> LeaseState:
    try:
        return LeaseState(phase.state)
    except ValueError as error:
        raise BadMessage("no such state of a lease", got=phase.state) from error
