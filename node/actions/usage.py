"""Use becomes vouchers: what runs here is stated to its requester, who covers it; what is not covered stops."""

from collections.abc import Mapping

import msgspec
import structlog

from market.dialogue import Covered, Phase, Signed, Statement
from market.errors import NeugridError
from market.leases import Lease, LeaseState, billed_seconds, is_credit_exhausted, owed_for
from market.messages import Kind
from market.provision_events import CreditExhausted, RunsCounted
from market.workloads import WorkloadKind
from node.actions.funding import Funding
from node.actions.held_leases import held_lease
from node.actions.hosts import Hosts
from node.actions.payments import credit_lease
from node.actions.peers import Peers
from node.engine import Changes, Engine
from node.ports import ImageStore

_covered = msgspec.json.Decoder(Covered)
_log = structlog.get_logger("usage")


class Usage:
    """States the use of the provider's leases."""

    def __init__(
        self, engine: Engine, peers: Peers, hosts: Hosts, funding: Funding, images: ImageStore | None = None
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._hosts = hosts
        self._funding = funding
        self._images = images

    async def in_use(self, leases: list[Lease]) -> list[Lease]:
        """Those of `leases` that have no end yet: a container that has ended is billed by its receipt alone.

        The receipt may come late (a restart, logs to deliver); what passes until then is not use. While the engine does
        not answer, nobody knows, and what runs there is stated later.
        """
        if not any(lease.state is LeaseState.RUNNING for lease in leases):
            return leases
        running = {kind: await host.running() for kind, host in self._hosts.items()}
        return [lease for lease in leases if lease.state is not LeaseState.RUNNING or _is_running(lease, running)]

    async def state_usage(self, lease: Lease, now: int) -> None:
        """State phase and use until `now` and take the voucher for it; stop when too much of the use is unpaid."""
        seconds = billed_seconds(lease.started_at, now)
        due = owed_for(lease.terms, seconds, lease.runs)
        phase = Phase(lease.id, lease.state.value, lease.started_at, lease.health, lease.direct, self._pulled(lease))
        try:
            covered = await self._peers.ask(
                lease.terms.requester_peer, Kind.STATEMENT, Statement(phase, seconds, due, lease.runs), _covered
            )
            if covered.runs > lease.runs:
                await self._engine.attempt("Lease", lease.id, RunsCounted(runs=covered.runs))
            if covered.voucher is not None and covered.voucher.paid > lease.paid:
                await self._take_voucher(lease.id, covered.voucher)
        except NeugridError as error:
            _log.info("statement not covered", lease=lease.id, why=error.code)
        if is_credit_exhausted(held_lease(self._engine.storage, lease.id), now):
            await self._engine.attempt("Lease", lease.id, CreditExhausted())

    def _pulled(self, lease: Lease) -> int:
        """Percent of the image that is here while it is fetched."""
        if lease.state is not LeaseState.PULLING or lease.workload is None or self._images is None:
            return 0
        pull = self._images.progress(lease.workload.image)
        return min(100, 100 * pull.done // pull.total) if pull and pull.total else 0

    async def _take_voucher(self, id: str, signed: Signed) -> None:
        def work(changes: Changes) -> None:
            lease = changes.tx.get(Lease, id)
            if lease is not None:
                credit_lease(changes, lease, signed, self._funding.domain)

        await self._engine.transact(work)


def _is_running(lease: Lease, running: Mapping[WorkloadKind, frozenset[str] | None]) -> bool:
    """Whether what the lease runs has no end yet; what is no container ends with its lease."""
    names = running.get(lease.workload.kind) if lease.workload else None
    return names is None or lease.container in names
