"""The provider's side of its leases: wait for the deposit, prepare, start, watch, report, clean up."""

import asyncio
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from market.dialogue import Countersigned, Finish
from market.errors import NeugridError, OutputRefused, Refused, Unavailable
from market.leases import OPEN, PREPARE_WITHIN, SETTLE_WITHIN, Lease, LeaseState
from market.machines import Event
from market.messages import Kind
from market.provision_events import (
    AwaitFunding,
    CleanUp,
    ForgetLease,
    PreparationFailed,
    PrepareWorkload,
    SendReceipt,
    StartWorkload,
    StopWorkload,
    VoucherAccepted,
    WatchWorkload,
    WorkloadPrepared,
    WorkloadStarted,
)
from market.receipts import receipt_digest
from node.actions.funding import Funding
from node.actions.held_leases import held_lease
from node.actions.hosts import Hosts, host_of
from node.actions.peers import Peers
from node.engine import Changes, Engine
from node.records import Entry

_countersigned = msgspec.json.Decoder(Countersigned)
_log = structlog.get_logger("provisioning")
ENGINE_WITHIN: Final = 60_000
"""An engine or a requester that does not answer for so long, in ms, ends the preparation: others may be better off."""
FAILURES: Final = {
    "IMAGE_NOT_FOUND": "IMAGE_NOT_FOUND",
    "IMAGE_REFUSED": "IMAGE_REFUSED",
    "RATE_LIMITED": "PULL_LIMIT",
}
"""Code of an error that ends the preparation -> code of the lease's end; others are about the inputs, or ours."""
FUND_POLL: Final = 0.25
MAX_FUND_POLL: Final = 3.0


class Provisioning:
    """Performs the provider's effects."""

    def __init__(self, engine: Engine, peers: Peers, hosts: Hosts, funding: Funding) -> None:
        self._engine = engine
        self._peers = peers
        self._hosts = hosts
        self._funding = funding

    async def await_funding(self, effect: AwaitFunding) -> None:
        """Wait until the channel covers the caps of all its open leases; any armed exit counts as gone."""
        lease, pause = held_lease(self._engine.storage, effect.subject), FUND_POLL
        while lease.state is LeaseState.ACCEPTED and not await self._funding.admit(lease):
            await asyncio.sleep(pause)
            lease, pause = held_lease(self._engine.storage, effect.subject), min(MAX_FUND_POLL, 1.1 * pause)

    async def prepare(self, effect: PrepareWorkload) -> Event | None:
        """Fetch what the workload needs."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.PULLING or lease.workload is None:
            return None
        try:
            async with asyncio.timeout(max(0, lease.deadline - self._engine.clock.now()) / 1000):
                image = await host_of(self._hosts, lease).prepare(lease, lease.workload)
        except TimeoutError:
            return None
        except Unavailable as error:
            if self._engine.clock.now() < lease.deadline - PREPARE_WITHIN + ENGINE_WITHIN:
                raise
            return PreparationFailed(code="INFRASTRUCTURE", message=error.message)
        except NeugridError as error:
            return PreparationFailed(code=_fault(error), message=error.message)
        return WorkloadPrepared(image=image)

    async def start(self, effect: StartWorkload) -> Event | None:
        """Let the workload run; gone again when the lease ended meanwhile."""
        lease = held_lease(self._engine.storage, effect.subject)
        if lease.state is not LeaseState.STARTING or lease.workload is None:
            await self._discard(lease)
            return None
        try:
            at = await host_of(self._hosts, lease).start(lease, lease.workload)
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
        """End the workload of a lease that is over."""
        lease = held_lease(self._engine.storage, effect.subject)
        await host_of(self._hosts, lease).stop(lease)

    async def watch(self, effect: WatchWorkload) -> Event | None:
        """Follow the workload to its end; after a restart of the node from its beginning."""
        lease = held_lease(self._engine.storage, effect.subject)
        return await host_of(self._hosts, lease).watch(lease)

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
                await host_of(self._hosts, lease).stop(lease)
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
        """Remove what the workload left here."""
        lease = held_lease(self._engine.storage, effect.subject)
        await host_of(self._hosts, lease).remove(lease)

    async def forget(self, effect: ForgetLease) -> None:
        """Drop a lease that was never committed, with its journal."""

        def work(changes: Changes) -> None:
            lease = changes.tx.get(Lease, effect.subject)
            if lease is not None and lease.state is LeaseState.SETTLED and lease.workload is None:
                changes.tx.delete(Lease, lease.id)
                for entry in changes.tx.find(Entry, subject=lease.id):
                    changes.tx.delete(Entry, str(entry.seq))

        await self._engine.transact(work)

    async def _discard(self, lease: Lease) -> None:
        """Remove what was started, by this life or the last one, for a lease that had ended by then."""
        if lease.state not in OPEN:
            await host_of(self._hosts, lease).remove(lease)


def _fault(error: NeugridError) -> str:
    """What the requester named wrongly is its fault, the rest ours."""
    if isinstance(error, Refused | OutputRefused):
        return "INPUT_MISSING"
    return FAILURES.get(error.code, "INFRASTRUCTURE")
