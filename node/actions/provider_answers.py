"""What requesters say to a provider about its leases, and what it answers."""

from typing import Final

from market.dialogue import Cancel, Commit, Done, Extend, Pay, Phase, Release, Renew, Renewals
from market.errors import Refused
from market.leases import (
    ENDED,
    OPEN,
    Lease,
    LeaseState,
    Terms,
    is_extension,
    objection_to,
    renewed_until,
    terms_digest,
)
from market.machines import Event
from market.messages import Envelope
from market.provision_events import CancelRequested, Committed, LeaseExtended, ProposalReleased, Renewed
from market.signing import require_signer
from market.units import Address
from node.actions.abilities import Abilities
from node.actions.funding import Funding
from node.actions.held_leases import lease_with
from node.actions.payments import credit_lease
from node.engine import Changes, Engine

LEAST_EXTENSION: Final = 1_000
"""A renewal that extends a lease by less, in ms, is answered and not written down."""


class ProviderAnswers:
    """Takes commits, releases, cancels, renewals, longer terms and payments."""

    def __init__(self, engine: Engine, abilities: Abilities, funding: Funding) -> None:
        self._engine = engine
        self._abilities = abilities
        self._funding = funding

    async def take_commit(self, envelope: Envelope, message: Commit) -> Done:
        """The workload behind the digest that was agreed on; the lease stands from the answer on."""

        def work(changes: Changes) -> None:
            lease = lease_with(changes.tx, message.lease, "provider", envelope.sender)
            if lease.state in (*OPEN[1:], *ENDED):
                return
            if objection := objection_to(message.workload, message.nonce, lease.terms):
                raise Refused(objection[1], codes=objection[:1])
            if lease.state is not LeaseState.OFFERED:
                raise Refused("this offer is no longer held", codes=("LEASE_GONE",))
            self._abilities.check(message.workload)
            # Anybody may name a channel; only the key of its vouchers may let a lease draw on its deposit.
            require_signer(terms_digest(lease.terms), bytes.fromhex(message.consent), Address(lease.terms.signer))
            changes.apply("Lease", lease.id, Committed(workload=message.workload, nonce=message.nonce))

        await self._engine.transact(work)
        return Done()

    async def take_release(self, envelope: Envelope, message: Release) -> Done:
        """The requester chose another provider."""
        await self._tell(envelope, message.lease, ProposalReleased())
        return Done()

    async def take_cancel(self, envelope: Envelope, message: Cancel) -> Done:
        """The requester wants it to end; an offer that is still held is let go."""
        lease = self._engine.storage.get(Lease, message.lease)
        held = lease is not None and lease.state is LeaseState.OFFERED
        await self._tell(envelope, message.lease, ProposalReleased() if held else CancelRequested())
        return Done()

    async def take_renewal(self, envelope: Envelope, message: Renew) -> Renewals:
        """Extend leases together, and say where each of them stands."""

        def work(changes: Changes) -> tuple[Phase, ...]:
            return tuple(self._extend(changes, envelope, item.lease, item.until) for item in message.leases)

        return Renewals(await self._engine.transact(work))

    async def take_payment(self, envelope: Envelope, message: Pay) -> Done:
        """The last voucher of a lease."""

        def work(changes: Changes) -> None:
            lease = lease_with(changes.tx, message.voucher.lease, "provider", envelope.sender)
            credit_lease(changes, lease, message.voucher, self._funding.domain)

        await self._engine.transact(work)
        return Done()

    async def take_extension(self, envelope: Envelope, message: Extend) -> Done:
        """The same lease for longer: consented to by the key that pays, and covered by the channel."""
        lease = lease_with(self._engine.storage, message.terms.lease, "provider", envelope.sender)
        if not await self._extend_now(envelope, message):
            await self._funding.look_at(lease)
            if not await self._extend_now(envelope, message):
                raise Refused("the channel does not cover the longer terms", codes=("NOT_FUNDED",))
        return Done()

    async def _extend_now(self, envelope: Envelope, message: Extend) -> bool:
        """Whether the lease has the longer terms now; False when the channel does not cover them."""
        terms = message.terms

        def work(changes: Changes) -> bool:
            lease = lease_with(changes.tx, terms.lease, "provider", envelope.sender)
            if lease.terms == terms:
                return True
            self._check_extension(lease, terms)
            require_signer(terms_digest(terms), bytes.fromhex(message.consent), Address(lease.terms.signer))
            if not self._funding.covers(changes.tx, lease, terms):
                return False
            changes.apply("Lease", lease.id, LeaseExtended(terms=terms))
            return True

        return await self._engine.transact(work)

    def _check_extension(self, lease: Lease, terms: Terms) -> None:
        if lease.state is not LeaseState.RUNNING:
            raise Refused("only what runs can go on", codes=("LEASE_ENDED",))
        if not is_extension(lease.terms, terms):
            raise Refused("these terms are not the same for longer", codes=("NOT_AN_EXTENSION",))

    def _extend(self, changes: Changes, envelope: Envelope, id: str, until: int) -> Phase:
        lease = changes.tx.get(Lease, id)
        if lease is None or lease.side != "provider" or lease.terms.requester != envelope.sender:
            return Phase(id, "unknown")
        extended = renewed_until(until, changes.now)
        if lease.state in OPEN and extended >= lease.until + LEAST_EXTENSION:
            lease = changes.apply("Lease", id, Renewed(until=extended))
        return Phase(id, lease.state.value, lease.started_at, lease.health, lease.direct)

    async def _tell(self, envelope: Envelope, id: str, event: Event) -> None:
        def work(changes: Changes) -> None:
            lease = lease_with(changes.tx, id, "provider", envelope.sender)
            if lease.state in OPEN:
                changes.apply("Lease", id, event)

        await self._engine.transact(work)
