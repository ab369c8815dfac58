"""The provider's side of its leases: accept, prepare, start, watch, report, stop, clean up."""

import asyncio
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from market.dialogue import (
    Cancel,
    Commit,
    Countersigned,
    Covered,
    Done,
    Finish,
    Pay,
    Phase,
    Release,
    Renew,
    Renewals,
    Signed,
)
from market.dialogue import Statement as Stated
from market.errors import ImageNotFound, NeugridError, NotFound, OutputRefused, Refused, Unavailable
from market.leases import (
    ENDED,
    OPEN,
    PREPARE_WITHIN,
    SETTLE_WITHIN,
    Lease,
    LeaseState,
    billed_seconds,
    cost_of,
    is_credit_exhausted,
    objection_to,
    renewed_until,
    terms_digest,
)
from market.machines import Event
from market.messages import Envelope, Kind
from market.provision import (
    AwaitFunding,
    CancelRequested,
    CleanUp,
    Committed,
    CreditExhausted,
    ForgetLease,
    PreparationFailed,
    PrepareWorkload,
    ProposalReleased,
    Renewed,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    VoucherAccepted,
    WorkloadPrepared,
    WorkloadStarted,
)
from market.receipts import receipt_digest
from market.signing import require_signer
from market.units import Address, Seconds
from market.workloads import Workload
from node.actions.funding import Funding
from node.actions.held_leases import held_lease, lease_with
from node.actions.inputs import Inputs
from node.actions.payments import credit_lease
from node.actions.peers import Peers
from node.engine import Changes, Engine
from node.ports import ContainerSpec, Image, Runtime
from node.records import Entry

_countersigned = msgspec.json.Decoder(Countersigned)
_covered = msgspec.json.Decoder(Covered)
_log = structlog.get_logger("provisioning")
ENGINE_WITHIN: Final = 60_000
"""An engine or a requester that does not answer for so long, in ms, ends the preparation: others may be better off."""
FUND_POLL: Final = 0.25
MAX_FUND_POLL: Final = 3.0
LEAST_EXTENSION: Final = 1_000
"""A renewal that extends a lease by less, in ms, is answered and not written down."""
STOP_GRACE: Final = 2
"""Seconds between SIGTERM and SIGKILL for a lease that is over; part of `leases.MARGIN`."""


class Provisioning:
    """Performs the provider's effects and answers its requesters."""

    def __init__(
        self,
        engine: Engine,
        peers: Peers,
        inputs: Inputs,
        runtime: Runtime,
        funding: Funding,
        isolation: str = "hardened",
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._inputs = inputs
        self._runtime = runtime
        self._funding = funding
        self._isolation = isolation

    # --- messages from requesters ---

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

    # --- effects ---

    async def await_funding(self, effect: AwaitFunding) -> None:
        """Wait until the channel covers the caps of all its open leases; any armed exit counts as gone."""
        lease, pause = held_lease(self._engine.storage, effect.subject), FUND_POLL
        while lease.state is LeaseState.ACCEPTED and not await self._funding.admit(lease):
            await asyncio.sleep(pause)
            lease, pause = held_lease(self._engine.storage, effect.subject), min(MAX_FUND_POLL, 1.1 * pause)

    async def prepare(self, effect: PrepareWorkload) -> Event | None:
        """Fetch image and inputs side by side; what the requester named wrongly is its fault, the rest ours."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.PULLING or lease.workload is None:
            return None
        try:
            async with asyncio.timeout(max(0, lease.deadline - self._engine.clock.now()) / 1000):
                image = await self._prepared(lease, lease.workload)
        except TimeoutError:
            return None
        except ImageNotFound as error:
            return PreparationFailed(code="IMAGE_NOT_FOUND", message=error.message)
        except (Refused, OutputRefused) as error:
            return PreparationFailed(code="INPUT_MISSING", message=error.message)
        except Unavailable as error:
            if self._engine.clock.now() < lease.deadline - PREPARE_WITHIN + ENGINE_WITHIN:
                raise
            return PreparationFailed(code="INFRASTRUCTURE", message=error.message)
        return WorkloadPrepared(image=image.id)

    async def start(self, effect: StartWorkload) -> Event | None:
        """Create and start the container under its deterministic name; gone again when the lease ended meanwhile."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.STARTING:
            await self._discard(lease)
            return None
        try:
            at = await self._runtime.start(self._container_spec(lease))
        except Unavailable:
            raise
        except NeugridError as error:
            return PreparationFailed(code="INFRASTRUCTURE", message=error.message)
        present = held_lease(self._engine.storage, lease.id)
        if present.state is not LeaseState.STARTING:
            await self._discard(present)
            return None
        return WorkloadStarted(at=at)

    async def stop(self, effect: StopWorkload) -> None:
        """End the container of a lease that is over."""
        lease = held_lease(self._engine.storage, effect.subject)
        await self._runtime.stop(lease.container, grace=STOP_GRACE)

    async def send_receipt(self, effect: SendReceipt) -> Event | None:
        """Tell the requester how it ended, until it counter-signs; one that has closed the lease owes nothing more.

        It is told when the container has stopped and not before: it may start the next attempt at once. A lease whose
        last statement covered all of its bill is settled, and the receipt is still to be told.
        """
        lease = held_lease(self._engine.storage, effect.subject)
        is_settled = lease.state is LeaseState.SETTLED
        if lease.receipt is None or (is_settled and self._engine.clock.now() > lease.ended_at + SETTLE_WITHIN):
            return None
        if lease.state not in (LeaseState.FINISHED, LeaseState.SETTLED):
            with suppress(Unavailable):
                await self._runtime.stop(lease.container, grace=STOP_GRACE)
        signature = self._peers.signer.sign(receipt_digest(lease.receipt)).hex()
        try:
            await self._peers.ask(
                lease.terms.requester_peer, Kind.FINISH, Finish(lease.receipt, signature), _countersigned
            )
        except Refused as error:
            _log.info("receipt refused", lease=lease.id, why=error.details.get("codes"))
            return VoucherAccepted(paid=lease.paid) if lease.due <= lease.paid else None
        return None

    async def clean_up(self, effect: CleanUp) -> None:
        """Remove the container, its volumes and the lease's inputs."""
        lease = held_lease(self._engine.storage, effect.subject)
        await self._runtime.remove(lease.container)
        await self._inputs.discard(lease)

    async def forget(self, effect: ForgetLease) -> None:
        """Drop a lease that was never committed, with its journal."""

        def work(changes: Changes) -> None:
            lease = changes.tx.get(Lease, effect.subject)
            if lease is not None and lease.state is LeaseState.SETTLED and lease.workload is None:
                changes.tx.delete(Lease, lease.id)
                for entry in changes.tx.find(Entry, subject=lease.id):
                    changes.tx.delete(Entry, str(entry.seq))

        await self._engine.transact(work)

    # --- usage ---

    async def in_use(self, leases: list[Lease]) -> list[Lease]:
        """Those of `leases` that have no end yet: a container that has ended is billed by its receipt alone.

        The receipt may come late (a restart, logs to deliver); what passes until then is not use. While the engine does
        not answer, nobody knows, and what runs there is stated later.
        """
        if not any(lease.state is LeaseState.RUNNING for lease in leases):
            return leases
        try:
            running = {container.name for container in await self._runtime.containers() if container.running}
        except Unavailable:
            running = set()
        return [lease for lease in leases if lease.state is not LeaseState.RUNNING or lease.container in running]

    async def state_usage(self, lease: Lease, now: int) -> None:
        """State phase and use until `now` and take the voucher for it; stop when too much of the use is unpaid."""
        seconds = billed_seconds(lease.started_at, now)
        due = cost_of(lease.terms, seconds)
        phase = Phase(lease.id, lease.state.value, lease.started_at)
        try:
            covered = await self._peers.ask(
                lease.terms.requester_peer, Kind.STATEMENT, Stated(phase, seconds, due), _covered
            )
            if covered.voucher is not None and covered.voucher.paid > lease.paid:
                await self._take_voucher(lease.id, covered.voucher)
        except NeugridError as error:
            _log.info("statement not covered", lease=lease.id, why=error.code)
        if is_credit_exhausted(held_lease(self._engine.storage, lease.id), now):
            await self._engine.attempt("Lease", lease.id, CreditExhausted())

    async def _take_voucher(self, id: str, signed: Signed) -> None:
        def work(changes: Changes) -> None:
            lease = changes.tx.get(Lease, id)
            if lease is not None:
                credit_lease(changes, lease, signed, self._funding.domain)

        await self._engine.transact(work)

    # --- helpers ---

    async def _discard(self, lease: Lease) -> None:
        """Remove a container that was started, by this life or the last one, for a lease that had ended by then."""
        if lease.state not in OPEN:
            await self._runtime.remove(lease.container)

    async def _prepared(self, lease: Lease, workload: Workload) -> Image:
        """Image and inputs side by side; when one fails, the other goes no further."""
        fetching = asyncio.create_task(self._inputs.fetch(lease, workload))
        try:
            image = await self._runtime.ensure_image(workload.image)
            await fetching
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        return image

    def _container_spec(self, lease: Lease) -> ContainerSpec:
        workload = lease.workload
        if workload is None:
            raise NotFound("the lease has no workload", id=lease.id)
        return ContainerSpec(
            name=lease.container,
            lease=lease.id,
            image=lease.image,
            command=workload.command,
            env=workload.env,
            resources=workload.resources,
            timeout=Seconds(lease.terms.timeout),
            inputs=self._inputs.of(lease) if workload.inputs else None,
            has_outputs=bool(workload.outputs),
            isolation=self._isolation,
        )

    def _extend(self, changes: Changes, envelope: Envelope, id: str, until: int) -> Phase:
        lease = changes.tx.get(Lease, id)
        if lease is None or lease.side != "provider" or lease.terms.requester != envelope.sender:
            return Phase(id, "unknown")
        extended = renewed_until(until, changes.now)
        if lease.state in OPEN and extended >= lease.until + LEAST_EXTENSION:
            lease = changes.apply("Lease", id, Renewed(until=extended))
        return Phase(id, lease.state.value, lease.started_at)

    async def _tell(self, envelope: Envelope, id: str, event: Event) -> None:
        def work(changes: Changes) -> None:
            lease = lease_with(changes.tx, id, "provider", envelope.sender)
            if lease.state in OPEN:
                changes.apply("Lease", id, event)

        await self._engine.transact(work)
