"""Reputation from this node's own leases: a fold over how they ended, on both sides of the market."""

from typing import Final

from market.leases import ENDED, Lease, LeaseState
from market.reputation import Ending, Experience, Outcome, record
from node.ports import Reader

FAULTS: Final = frozenset({"INFRASTRUCTURE", "PULL_TIMEOUT", "START_TIMEOUT", "OUTPUTS_LOST"})
STATES: Final = (*ENDED, LeaseState.SETTLED)
PAGE: Final = 1000


class Experiences:
    """What is known of the others, kept up to date from the leases that ended since the last look."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counted: set[str] = set()
        self.providers: dict[str, Experience] = {}
        self.requesters: dict[str, Experience] = {}

    def update(self) -> int:
        """Count the leases that ended; how many were new. Settled ones count once."""
        fresh = [lease for lease in self._ended() if lease.id not in self._counted]
        for lease in sorted(fresh, key=lambda lease: lease.ended_at):
            self._counted.add(lease.id)
            self._count(lease)
        return len(fresh)

    def _ended(self) -> list[Lease]:
        limit = PAGE if self._counted else 0
        return self._reader.find(Lease, state=LeaseState.SETTLED, newest=True, limit=limit)

    def _count(self, lease: Lease) -> None:
        known = self.providers if lease.side == "requester" else self.requesters
        other = lease.terms.provider if lease.side == "requester" else lease.terms.requester
        ending = ending_at_provider(lease) if lease.side == "requester" else ending_at_requester(lease)
        outcome = Outcome(ending=ending, seconds=lease.seconds, paid=lease.paid)
        known[other] = record(known.get(other, Experience()), outcome, lease.ended_at)


def ending_at_provider(lease: Lease) -> Ending:
    """What a requester learnt about its provider."""
    if lease.code == "COMMIT_REFUSED":
        return Ending.DECLINED
    if lease.outcome == LeaseState.LOST or lease.code in FAULTS:
        return Ending.LOST if lease.code == "PROVIDER_LOST" else Ending.FAULT
    is_good = lease.outcome == LeaseState.FINISHED and lease.code in ("", "TIMEOUT", "OUT_OF_MEMORY")
    return Ending.SUCCESS if is_good else Ending.NOBODY


def ending_at_requester(lease: Lease) -> Ending:
    """What a provider learnt about its requester."""
    if lease.due == 0:
        return Ending.NOBODY
    return Ending.PAID if lease.paid >= lease.due else Ending.UNPAID
