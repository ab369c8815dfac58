"""The requester extends its leases: every five seconds, all leases of one provider in one message."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from market.dialogue import Phase, Renew, Renewal, Renewals
from market.errors import NeugridError
from market.leases import LEASE_TERM, OPEN, RENEW_EVERY, Lease, LeaseState, latest_end
from market.machines import Event
from market.messages import Kind
from market.tenancy import heard, is_worth_noting
from market.tenancy_events import ProviderHeard, RenewalSent
from node.actions.peers import Peers
from node.engine import Changes, Engine

_renewals = msgspec.json.Decoder(Renewals)
_log = structlog.get_logger("renewals")
BATCH: Final = 1024
"""Leases in one message."""
GONE: Final = ("unknown", "settled")
"""What a provider says of a lease that it will never mention again: that is no word of it."""
SILENCE: Final = 20_000
"""No renewal is sent any more when the provider was silent for so long, in ms."""


async def run(engine: Engine, peers: Peers) -> None:
    """Renew until cancelled; after a restart the providers have their time to answer again."""
    started = engine.clock.now()
    while True:
        await renew_all(engine, peers, started)
        await asyncio.sleep(RENEW_EVERY / 1000)


async def renew_all(engine: Engine, peers: Peers, started: int) -> None:
    """One round: providers side by side, a silent one delays nobody; one that is long overdue is waited for no more."""
    by_peer: dict[str, list[Lease]] = defaultdict(list)
    now = engine.clock.now()
    for lease in engine.storage.find(Lease, side="requester", state=OPEN[1:]):
        if now - max(started, lease.acknowledged_at) < SILENCE and now < latest_end(lease):
            by_peer[lease.terms.provider_peer].append(lease)
    groups = [(peer, group) for peer, leases in by_peer.items() for group in _batches(leases)]
    rounds = (_renew(engine, peers, peer, group) for peer, group in groups)
    for (peer, _), failure in zip(groups, await asyncio.gather(*rounds, return_exceptions=True), strict=True):
        if isinstance(failure, BaseException):
            _log.error("renewal failed", peer=peer, exc_info=failure)


def _batches(leases: list[Lease]) -> list[list[Lease]]:
    return [leases[start : start + BATCH] for start in range(0, len(leases), BATCH)]


async def _renew(engine: Engine, peers: Peers, peer: str, leases: Sequence[Lease]) -> None:
    """Extend what is sent: from the moment of sending, unless nothing can have left this machine."""
    if not await _is_reachable(peers, peer):
        return
    until = engine.clock.now() + LEASE_TERM
    await engine.transact(lambda changes: _mark_sent(changes, leases, until))
    try:
        message = Renew(tuple(Renewal(lease.id, until) for lease in leases))
        answer = await peers.ask(peer, Kind.RENEW, message, _renewals)
    except NeugridError as error:
        _log.info("renewal not answered", peer=peer, why=error.code)
        return
    asked = {lease.id for lease in leases}
    phases = [phase for phase in answer.phases if phase.lease in asked]
    await engine.transact(lambda changes: _mark_heard(changes, phases))


async def _is_reachable(peers: Peers, peer: str) -> bool:
    """Whether a connection stands: without one nothing would be sent, and the lease is not extended."""
    try:
        return any(known.id == peer for known in await peers.network.peers())
    except NeugridError:
        return False


def _mark_sent(changes: Changes, leases: Sequence[Lease], until: int) -> None:
    for lease in leases:
        present = changes.tx.get(Lease, lease.id)
        if present is not None and present.state in OPEN:
            changes.apply("Lease", lease.id, RenewalSent(until=until))


def _mark_heard(changes: Changes, phases: Sequence[Phase]) -> None:
    """What the provider says of the leases that it was asked about, and of no others."""
    known = {state.value for state in OPEN[1:]}
    for phase in phases:
        lease = changes.tx.get(Lease, phase.lease)
        if lease is None or lease.side != "requester" or lease.state not in OPEN[1:]:
            continue
        event: Event = ProviderHeard()
        if phase.state in known:
            event = heard(lease, LeaseState(phase.state), phase.started_at, phase.health, phase.direct, phase.pulled)
        if phase.state not in GONE and is_worth_noting(lease, event, changes.now):
            changes.apply("Lease", lease.id, event)
